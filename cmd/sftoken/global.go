package main

import (
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"
)

// addGlobalFlags adds the flags that all commands have.
func addGlobalFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.String("profile", "", "AWS `PROFILE` (default $AWS_PROFILE)")
	flags.String("region", "", "AWS `REGION` (default $AWS_REGION)")
	flags.Bool("debug", false, "print each HTTP request to standard error")
	for _, name := range []string{"profile", "region"} {
		_ = root.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions) // fails only for unknown flags
	}
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		if on, _ := cmd.Flags().GetBool("debug"); on {
			cmd.SetContext(withDebugLog(cmd.Context(), newDebugLog(cmd.ErrOrStderr())))
		}
	}
}

// awsOptions returns the options of the AWS configuration that the global flags set.
func awsOptions(cmd *cobra.Command) []func(*config.LoadOptions) error {
	var options []func(*config.LoadOptions) error
	if profile, _ := cmd.Flags().GetString("profile"); profile != "" {
		options = append(options, config.WithSharedConfigProfile(profile))
	}
	if region, _ := cmd.Flags().GetString("region"); region != "" {
		options = append(options, config.WithRegion(region))
	}
	if log := debugLogOf(cmd.Context()); log != nil {
		client := awshttp.NewBuildableClient() // in place of none, so that configLoader can replace it
		options = append(options, config.WithAPIOptions(log.apiOptions()), config.WithHTTPClient(client))
	}
	return options
}
