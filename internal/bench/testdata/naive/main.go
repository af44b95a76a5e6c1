// The function that people write first: it reads the secret and asks Salesforce for a token on each call.
package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

func main() {
	lambda.Start(func(ctx context.Context, event events.APIGatewayProxyRequest) (events.APIGatewayProxyResponse, error) {
		var failed events.APIGatewayProxyResponse
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return failed, err
		}
		out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx,
			&secretsmanager.GetSecretValueInput{SecretId: aws.String("sftoken/" + event.PathParameters["app"])})
		if err != nil {
			return failed, err
		}
		var secret struct{ ConsumerKey, ConsumerSecret, BaseURI string }
		if err := json.Unmarshal([]byte(*out.SecretString), &secret); err != nil {
			return failed, err
		}
		resp, err := http.PostForm(secret.BaseURI+"/services/oauth2/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {secret.ConsumerKey}, "client_secret": {secret.ConsumerSecret},
		})
		if err != nil {
			return failed, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return events.APIGatewayProxyResponse{StatusCode: resp.StatusCode, Body: string(body)}, err
	})
}
