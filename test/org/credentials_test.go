package org

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/sftoken/sftoken/internal/appsecret"
	"github.com/sftoken/sftoken/internal/sim/stack"
)

// The names of the secrets in the file, which has the form of the file of `sftoken local --secrets`.
const (
	appName     = "crm"         // whose credentials are rotated
	adminName   = "rotation"    // the app that changes them; absent: the app itself
	pendingName = "crm-pending" // new credentials of a rotation that has not ended
)

// credentialsFile is the only place that has the app's credentials besides Salesforce. A rotation writes new ones to it
// before they become the primary ones, so the primary credentials are always in it.
type credentialsFile struct {
	path   string
	values map[string]json.RawMessage
}

func openCredentials(path string) (*credentialsFile, error) {
	path, err := filepath.EvalSymlinks(path) // save would replace a link by a file
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("other users can read %s: chmod 600 %s", path, path)
	}
	f := &credentialsFile{path: path}
	if f.values, err = stack.ReadSecrets(path); err != nil {
		return nil, err
	}
	for name := range f.values {
		version, err := f.version(name)
		if err != nil {
			return nil, err
		}
		if name != adminName && !version.CanSelfRotate() {
			return nil, fmt.Errorf("%s: %s needs credentials, appId and consumerId", path, name)
		}
		if name != adminName && version.AllowedPrincipals != nil {
			return nil, fmt.Errorf("%s: %s: remove allowedPrincipals, which the test's caller is not among", path, name)
		}
	}
	app, _ := f.version(appName)
	admin, _ := f.version(adminName)
	switch {
	case app == nil:
		return nil, fmt.Errorf("%s has no %s", path, appName)
	case admin != nil && admin.BaseURI != app.BaseURI:
		return nil, fmt.Errorf("%s: %s and %s must have the same baseUri", path, appName, adminName)
	}
	return f, nil
}

// version returns the credentials with this name; nil: the file has none.
func (f *credentialsFile) version(name string) (*appsecret.Version, error) {
	if f.values[name] == nil {
		return nil, nil
	}
	version, err := appsecret.Parse(name, string(f.values[name]))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.path, name, err)
	}
	version.App = name
	return version, nil
}

// setPending saves new credentials beside the app's.
func (f *credentialsFile) setPending(value string) error {
	f.values[pendingName] = json.RawMessage(value)
	return f.save()
}

// adoptPending makes the new credentials the app's.
func (f *credentialsFile) adoptPending() error {
	f.values[appName] = f.values[pendingName]
	delete(f.values, pendingName)
	return f.save()
}

// save replaces the file. After a crash, on a full disk or with another run at the same time, it is an old one or a new
// one, and complete.
func (f *credentialsFile) save() error {
	text, err := json.MarshalIndent(f.values, "", "  ")
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }() // fails once it has been renamed
	_, err = out.Write(append(text, '\n'))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), f.path)
}

// savingClient saves new versions in the file first: the simulated Secrets Manager forgets them when the test ends.
type savingClient struct {
	appsecret.Client
	file *credentialsFile
}

func (c savingClient) PutSecretValue(
	ctx context.Context, in *secretsmanager.PutSecretValueInput, options ...func(*secretsmanager.Options),
) (*secretsmanager.PutSecretValueOutput, error) {
	if err := c.file.setPending(*in.SecretString); err != nil {
		return nil, fmt.Errorf("saving the new credentials: %w", err)
	}
	return c.Client.PutSecretValue(ctx, in, options...)
}
