// SPDX-License-Identifier: Apache-2.0

// Package vault is the driver that has certificates made by the PKI engine of
// OpenBao or HashiCorp Vault, through its HTTP API.
//
// It signs in with a token, which may lie in a file that an agent renews, or with
// an AppRole, whose token it gives back at the end of each call. The role of a
// request is its profile, or that of the options.
//
// The engine knows no orders: a certificate whose answer was lost stays there,
// unknown to us, and asking again makes another.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Options are what can be set.
type Options struct {
	URL       string        `option:"url" help:"URL of the server, such as https://vault.example.com:8200"`
	Mount     string        `option:"mount" default:"pki" help:"where the PKI engine is mounted"`
	Role      string        `option:"role" help:"the role that certificates are made with, unless a request's profile names another"`
	Namespace string        `option:"namespace" help:"the namespace that the engine is in"`
	Token     driver.Secret `option:"token" help:"a token to sign in with"`
	TokenFile string        `option:"token-file" help:"in place of token: absolute path of a file that holds one; it is read for each request"`
	RoleID    string        `option:"role-id" help:"in place of token: the id of an AppRole"`
	SecretID  driver.Secret `option:"secret-id" help:"the secret id of the AppRole"`
	AppRole   string        `option:"approle-mount" default:"approle" help:"where the AppRole method is mounted"`
	Roots     string        `option:"roots" help:"PEM bundle to verify the server against, in place of what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("vault", "the PKI engine of OpenBao or Vault: has certificates made, says whether they are revoked, and revokes", open)
}

// Issuer has certificates made by one engine.
type Issuer struct {
	options  Options
	settings issuing.Settings
	base     string
}

var (
	_ driver.Issuer         = (*Issuer)(nil)
	_ driver.StandingLooker = (*Issuer)(nil)
	_ driver.Revoker        = (*Issuer)(nil)
)

// What may become part of a path.
var (
	mountName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	roleName  = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)
)

func open(o Options) (*Issuer, error) {
	i := &Issuer{options: o, settings: issuing.Settings{URL: o.URL, Roots: o.Roots, Secrets: []driver.Secret{o.Token, o.SecretID}}}
	base, err := i.settings.Base()
	if err != nil {
		return nil, fmt.Errorf("option url: %w", err)
	}
	i.base = base.String() + "/v1/"
	ways := 0
	for _, set := range []bool{!o.Token.IsZero(), o.TokenFile != "", o.RoleID != ""} {
		if set {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, invalid("one of the options token, token-file and role-id is needed")
	case (o.RoleID == "") != o.SecretID.IsZero():
		return nil, invalid("options role-id and secret-id go together")
	case o.TokenFile != "" && !filepath.IsAbs(o.TokenFile):
		return nil, invalid("option token-file: %q is not an absolute path", o.TokenFile)
	case !mountName.MatchString(o.Mount) || !mountName.MatchString(o.AppRole):
		return nil, invalid("options mount and approle-mount are paths such as pki or team/pki")
	case o.Role != "" && !roleName.MatchString(o.Role):
		return nil, invalid("option role: %q is not the name of a role", o.Role)
	}
	return i, nil
}

// A session is one call's conversation with the server.
type session struct {
	*Issuer
	http  *issuing.Client
	token driver.Secret
}

// signIn opens a session. Close it.
func (i *Issuer) signIn(ctx context.Context) (*session, error) {
	client, err := i.settings.Client()
	if err != nil {
		return nil, err
	}
	s := &session{Issuer: i, http: client, token: i.options.Token}
	switch {
	case i.options.TokenFile != "":
		s.token, err = readToken(i.options.TokenFile)
	case i.options.RoleID != "":
		err = s.login(ctx)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	client.Hide(s.token)
	return s, nil
}

// maxToken bounds a file with a token, in bytes.
const maxToken = 8 << 10

func readToken(path string) (driver.Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return driver.Secret{}, fmt.Errorf("%w: couldn't read the option token-file: %w", tallystick.ErrUnavailable, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxToken))
	if err != nil {
		return driver.Secret{}, fmt.Errorf("%w: couldn't read the option token-file: %w", tallystick.ErrUnavailable, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, " \r\n\t") {
		return driver.Secret{}, invalid("option token-file: %s does not hold a token", path)
	}
	return driver.NewSecret(token), nil
}

// login gets a token for the AppRole.
func (s *session) login(ctx context.Context) error {
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	question := map[string]string{"role_id": s.options.RoleID, "secret_id": s.options.SecretID.Reveal()}
	err := s.call(ctx, http.MethodPost, "auth/"+s.options.AppRole+"/login", question, &answer)
	if errors.Is(err, tallystick.ErrInvalid) {
		// The server says 400 to an id or secret that is not right.
		return fmt.Errorf("couldn't sign in with the AppRole: %w: %s", tallystick.ErrDenied, strings.TrimPrefix(err.Error(), tallystick.ErrInvalid.Error()+": "))
	}
	if err != nil {
		return fmt.Errorf("couldn't sign in with the AppRole: %w", err)
	}
	s.token = driver.NewSecret(answer.Auth.Token)
	return nil
}

// close gives the AppRole's token back: thousands of them, each alive for as long
// as its role allows, would weigh on the server.
func (s *session) close(ctx context.Context) {
	if s.options.RoleID != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.call(ctx, http.MethodPost, "auth/token/revoke-self", struct{}{}, nil) // else it ends by itself
	}
	s.http.Close()
}

// call asks the API. An answer that says no is an error with its sentences.
func (s *session) call(ctx context.Context, method, path string, question, answer any) error {
	header := http.Header{"Content-Type": {"application/json"}, "X-Vault-Request": {"true"}}
	if !s.token.IsZero() {
		header.Set("X-Vault-Token", s.token.Reveal())
	}
	if s.options.Namespace != "" {
		header.Set("X-Vault-Namespace", s.options.Namespace)
	}
	var body []byte
	if question != nil {
		var err error
		if body, err = json.Marshal(question); err != nil {
			return err
		}
	}
	status, text, err := s.http.Do(ctx, method, s.base+path, header, body)
	if err != nil {
		return err
	}
	if status == http.StatusNotFound && method == http.MethodGet {
		return tallystick.ErrNotFound
	}
	if status/100 != 2 {
		return s.http.Refused(status, sentences(text))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return errors.New("couldn't read the server's answer")
	}
	return nil
}

// sentences takes them out of an answer that is an error.
func sentences(body []byte) string {
	var answer struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) == nil && len(answer.Errors) > 0 {
		return strings.Join(answer.Errors, "; ")
	}
	return string(body)
}

// at is the path of something at the engine.
func (s *session) at(parts ...string) string {
	for n, part := range parts {
		parts[n] = url.PathEscape(part)
	}
	return s.options.Mount + "/" + strings.Join(parts, "/")
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
