// Package salesforce has no code. Its tests check the metadata that sets up an org, which no compiler reads.
package salesforce

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const namespace = "http://soap.sforce.com/2006/04/metadata"

// rotation is the app that rotates the credentials of the others.
const rotation = "sftoken_rotation"

// loginRanges is deployed separately, and only if the functions have fixed addresses.
const loginRanges = "login-ranges"

// kinds are the metadata types in use, by file suffix. Source: Metadata API Developer Guide, "File Suffix and Directory
// Location" of each.
var kinds = map[string]struct{ folder, name, root string }{
	"eca":           kind("externalClientApps", "ExternalClientApplication"),
	"ecaGlblOauth":  kind("extlClntAppGlobalOauthSets", "ExtlClntAppGlobalOauthSettings"),
	"ecaOauth":      kind("extlClntAppOauthSettings", "ExtlClntAppOauthSettings"),
	"ecaOauthPlcy":  kind("extlClntAppOauthPolicies", "ExtlClntAppOauthConfigurablePolicies"),
	"ecaPlcy":       kind("extlClntAppPolicies", "ExtlClntAppConfigurablePolicies"),
	"permissionset": kind("permissionsets", "PermissionSet"),
	"profile":       kind("profiles", "Profile"),
	"settings":      {"settings", "Settings", "ExternalClientAppSettings"}, // all settings are one type in a manifest
}

// kind is a metadata type whose root element has its name.
func kind(folder, name string) struct{ folder, name, root string } {
	return struct{ folder, name, root string }{folder, name, name}
}

func TestMetadataFileTypes(t *testing.T) {
	t.Parallel()
	for _, c := range components(t) {
		kind, ok := kinds[c.suffix]
		if !ok || c.folder != kind.folder || c.root != kind.root || c.space != namespace {
			t.Errorf("%s: root %q of namespace %q does not belong here", c.path, c.root, c.space)
		}
	}
}

func TestManifest(t *testing.T) {
	t.Parallel()
	there := map[string][]string{}
	for _, c := range components(t) {
		kind := kinds[c.suffix].name
		if !strings.HasPrefix(c.path, loginRanges) {
			there[kind] = append(there[kind], c.name)
		}
	}
	var manifest struct {
		XMLName xml.Name
		Types   []struct {
			Members []string `xml:"members"`
			Name    string   `xml:"name"`
		} `xml:"types"`
		Version string `xml:"version"`
	}
	read(t, "manifest/package.xml", func(data []byte) error { return xml.Unmarshal(data, &manifest) })
	listed := map[string][]string{}
	for _, kind := range manifest.Types {
		listed[kind.Name] = append(listed[kind.Name], kind.Members...)
	}
	for kind := range union(there, listed) {
		slices.Sort(there[kind])
		slices.Sort(listed[kind])
		if !slices.Equal(there[kind], listed[kind]) {
			t.Errorf("%s: the manifest lists %q, there is %q", kind, listed[kind], there[kind])
		}
	}
	if want := (xml.Name{Space: namespace, Local: "Package"}); manifest.XMLName != want {
		t.Errorf("manifest: root %v, want %v", manifest.XMLName, want)
	}
	// Staged credentials exist since 65.0.
	if version := sfdx(t).SourceAPIVersion; manifest.Version != version || version < "65.0" {
		t.Errorf("version %s in the manifest, %s in the project", manifest.Version, version)
	}
}

func TestMetadataNames(t *testing.T) {
	t.Parallel()
	all := components(t)
	names := func(suffix string) []string {
		var names []string
		for _, c := range all {
			if c.suffix == suffix {
				names = append(names, c.name)
			}
		}
		return slices.Sorted(slices.Values(names))
	}
	apps := names("eca")
	for _, app := range []string{"sftoken_crm", rotation} {
		if !slices.Contains(apps, app) {
			t.Errorf("no app %s", app)
		}
	}
	// Salesforce creates both policies when an app gets OAuth settings, calls them <name>_defaultPolicy, and rejects a
	// second one.
	var policies []string
	for _, app := range apps {
		policies = append(policies, app+"_defaultPolicy")
	}
	for suffix, want := range map[string][]string{
		"ecaGlblOauth": apps, "ecaOauth": apps, "permissionset": apps, "ecaPlcy": policies, "ecaOauthPlcy": policies,
	} {
		if got := names(suffix); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", suffix, got, want)
		}
	}
	for _, c := range all {
		app := strings.TrimSuffix(c.name, "_defaultPolicy")
		for _, field := range []string{"externalClientApplication", "commaSeparatedPermissionSet"} {
			if got, ok := c.fields[field]; ok && !slices.Equal(got, []string{app}) {
				t.Errorf("%s: %s %q, want %q", c.path, field, got, app)
			}
		}
	}
}

// free is a field with any value.
const free = "*"

// granted lists all fields of each file. Any other field is an error, such as a further scope or flow, or a secret.
var granted = map[string]map[string]string{
	"eca": {
		"contactEmail": "CONTACT@replace.invalid", "description": free, "distributionState": "Local",
		"isProtected": "false", "label": free,
	},
	"ecaGlblOauth": {
		"callbackUrl":               "https://login.salesforce.com/services/oauth2/success",
		"externalClientApplication": free, "label": free, "isClientCredentialsFlowEnabled": "true",
		"isCodeCredFlowEnabled": "false", "isCodeCredPostOnly": "false", "isDeviceFlowEnabled": "false",
		"isTokenExchangeEnabled": "false", "isConsumerSecretOptional": "false", "isIntrospectAllTokens": "false",
		"isNamedUserJwtEnabled": "false", "isPkceRequired": "true", "isSecretRequiredForRefreshToken": "true",
		"isSecretRequiredForTokenExchange": "true",
		// true would change the credentials at each deployment
		"shouldRotateConsumerKey": "false", "shouldRotateConsumerSecret": "false",
	},
	"ecaOauth": {
		"commaSeparatedOauthScopes": "Api", "externalClientApplication": free, "isFirstPartyAppEnabled": "false",
		"label": free,
	},
	"ecaPlcy": {"externalClientApplication": free, "isEnabled": "true", "isOauthPluginEnabled": "true", "label": free},
	"ecaOauthPlcy": {
		"clientCredentialsFlowUser": free, "commaSeparatedPermissionSet": free, "externalClientApplication": free,
		"label":                  free,
		"ipRelaxationPolicyType": "Enforce", "isClientCredentialsFlowEnabled": "true", "isGuestCodeCredFlowEnabled": "false",
		"isTokenExchangeFlowEnabled": "false", "permittedUsersPolicyType": "AdminApprovedPreAuthorized",
		"refreshTokenPolicyType": "Zero",
		"requiredSessionLevel":   "STANDARD", "sessionTimeoutInMinutes": "120",
	},
	"permissionset": {
		"description": free, "hasActivationRequired": "false", "label": free, "userPermissions/enabled": free,
		"userPermissions/name": free,
	},
	"profile": {
		"custom": "true", "description": free, "userLicense": "Salesforce Integration", "loginIpRanges/description": free,
		"loginIpRanges/startAddress": free, "loginIpRanges/endAddress": free,
		"userPermissions/enabled": free, "userPermissions/name": free,
	},
	"settings": {"enableClientSecretInRestApiAccess": "true"},
}

func TestGrants(t *testing.T) {
	t.Parallel()
	for _, c := range components(t) {
		want := granted[c.suffix]
		for field := range union(c.fields, want) {
			value, known := want[field]
			got, set := c.fields[field]
			switch {
			case !known: // the value is not printed: it may be a secret
				t.Errorf("%s: %s is set", c.path, field)
			case !set || value != free && !slices.Equal(got, []string{value}):
				t.Errorf("%s: %s is %q, want %q", c.path, field, got, value)
			}
		}
	}
	for _, c := range components(t) {
		want := []string{"ApiEnabled", "ApiUserOnly"}
		if c.name == rotation { // Developer requires Admin, which requires Viewer
			want = append(want, "ExternalClientAppAdmin", "ExternalClientAppDeveloper", "ExternalClientAppViewer",
				"ViewClientSecret")
		}
		got, grants := c.fields["userPermissions/name"]
		if grants && !slices.Equal(got, want) {
			t.Errorf("%s grants %q, want %q", c.path, got, want)
		}
	}
}

// TestLoginRanges checks that the profile admits the addresses of network.yaml, each by itself, and that it cannot be
// deployed without them: a placeholder is not an address.
func TestLoginRanges(t *testing.T) {
	t.Parallel()
	network, err := os.ReadFile("../network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range bytes.Count(network, []byte("Type: AWS::EC2::EIP\n")) {
		want = append(want, fmt.Sprintf("EGRESS_%d@replace.invalid", n+1))
	}
	profiles := 0
	for _, c := range components(t) {
		if c.suffix != "profile" {
			continue
		}
		profiles++
		for _, field := range []string{"loginIpRanges/startAddress", "loginIpRanges/endAddress"} {
			if got := c.fields[field]; !slices.Equal(got, want) {
				t.Errorf("%s: %s %q, want %q", c.path, field, got, want)
			}
		}
	}
	if profiles != 1 || len(want) != 2 {
		t.Errorf("%d profiles, %d addresses", profiles, len(want))
	}
}

// A consumer key begins with 3MVG; a secret is 64 hexadecimal digits, an id of an org or a record 15 or 18 letters
// and digits.
var secret = regexp.MustCompile(`3MVG|[0-9A-Fa-f]{32}|\b(00D|005|0xI|888)[0-9A-Za-z]{12}`)

func TestNoOrgData(t *testing.T) {
	t.Parallel()
	project := sfdx(t)
	placeholder := regexp.MustCompile(`\S+@\S+`)
	replaced := map[string]bool{}
	for _, c := range components(t) {
		for field, values := range c.fields {
			for _, value := range values {
				if secret.MatchString(value) {
					t.Errorf("%s: %s looks like a key, a secret or an id of an org", c.path, field)
				}
				for _, address := range placeholder.FindAllString(value, -1) {
					if !strings.HasSuffix(address, "@replace.invalid") {
						t.Errorf("%s: %s has %s, which is not a placeholder", c.path, field, address)
					}
					replaced[address] = true
				}
			}
		}
	}
	var known []string
	for _, r := range project.Replacements {
		known = append(known, r.StringToReplace)
		if r.Glob == "" || r.ReplaceWithEnv == "" {
			t.Errorf("%s is replaced by nothing", r.StringToReplace)
		}
	}
	if got, want := slices.Sorted(maps.Keys(replaced)), slices.Sorted(slices.Values(known)); !slices.Equal(got, want) {
		t.Errorf("placeholders %q, sfdx-project.json replaces %q", got, want)
	}
}
