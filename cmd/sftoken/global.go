package main

import (
	"cmp"
	"os"
	"regexp"
	"slices"

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
	_ = root.RegisterFlagCompletionFunc("profile", completeProfiles) // these fail only for unknown flags
	_ = root.RegisterFlagCompletionFunc("region", cobra.NoFileCompletions)
	root.PersistentPreRun = func(cmd *cobra.Command, _ []string) {
		if on, _ := cmd.Flags().GetBool("debug"); on {
			cmd.SetContext(withDebugLog(cmd.Context(), newDebugLog(cmd.ErrOrStderr())))
		}
	}
}

// profileSection matches the first line of a profile in the AWS configuration or credentials file.
var profileSection = regexp.MustCompile(`(?m)^\s*\[(?:profile\s+)?(\S+?)\s*\]`)

// completeProfiles completes the name of a profile.
func completeProfiles(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, file := range []string{
		cmp.Or(os.Getenv("AWS_CONFIG_FILE"), config.DefaultSharedConfigFilename()),
		cmp.Or(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), config.DefaultSharedCredentialsFilename()),
	} {
		text, _ := os.ReadFile(file) // #nosec G304 G703 -- the path is the user's own setting
		for _, match := range profileSection.FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
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
