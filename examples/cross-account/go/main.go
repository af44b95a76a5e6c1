// Command limits prints how many API requests a Salesforce org has left: limits APP
//
// SFTOKEN_URL is the ApiUrl of the sftoken deployment. AWS credentials are found as the AWS SDK finds them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/sftoken/sftoken/pkg/sftoken"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatalf("limits: %v", err)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 2 {
		return errors.New("want one argument, the app's name")
	}
	aws, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	// The Transport adds the token and the org's address, and replaces a token whose session ended early.
	source := sftoken.NewTokenSource(aws, os.Getenv("SFTOKEN_URL"), os.Args[1])
	client := &http.Client{Transport: &sftoken.Transport{Source: source}, Timeout: 2 * time.Minute}

	resp, err := client.Get("/services/data/v65.0/limits")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the org responded with HTTP %d: %s", resp.StatusCode, body)
	}
	var limits struct {
		DailyAPIRequests struct{ Max, Remaining int } `json:"DailyApiRequests"`
	}
	if err := json.Unmarshal(body, &limits); err != nil {
		return err
	}
	left := limits.DailyAPIRequests
	fmt.Printf("%d of %d API requests are left today\n", left.Remaining, left.Max)
	return nil
}
