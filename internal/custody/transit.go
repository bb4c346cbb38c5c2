// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// A Transit wraps with a key of the transit engine of OpenBao or Vault, which it
// never leaves (https://openbao.org/api-docs/secret/transit/). The key is of a type
// with associated data, such as aes256-gcm96.
type Transit struct {
	options TransitOptions
	base    *url.URL
	client  *http.Client

	mu    sync.Mutex
	token []byte // of a login by AppRole; under mu
}

// TransitOptions say where the server is and how to sign in there.
type TransitOptions struct {
	Address   string // https://bao.example.com:8200
	Mount     string // of the engine; "" is transit
	Key       string // its name
	Namespace string
	CAFile    string // PEM, of the server's CA; "" is those of the system
	// One of a file with a token, which is read for each request, because an agent
	// renews it, and a role of AppRole with a file that holds its secret id.
	TokenFile    string
	RoleID       string
	SecretIDFile string
	AppRole      string // the mount of the method; "" is approle
}

// Bounds of what is asked of a server and what it may answer.
const (
	transitPatience = 10 * time.Second
	maxAnswer       = 64 << 10
	maxToken        = 8 << 10
)

var (
	transitName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	transitMount  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,7}$`)
	transitCipher = regexp.MustCompile(`^vault:v[0-9]{1,9}:[A-Za-z0-9+/]{20,1000}={0,2}$`)
)

// NewTransit returns the wrapping key; nothing is asked of the server yet. Options
// that make no sense are ErrInvalid. Nothing but the address is ever connected to:
// no proxy, and no redirect.
func NewTransit(o TransitOptions) (*Transit, error) {
	if o.Mount == "" {
		o.Mount = "transit"
	}
	if o.AppRole == "" {
		o.AppRole = "approle"
	}
	base, err := transitBase(o.Address)
	if err != nil {
		return nil, err
	}
	switch {
	case !transitName.MatchString(o.Key) || !transitMount.MatchString(o.Mount) || !transitMount.MatchString(o.AppRole):
		return nil, fmt.Errorf("%w: the names of a transit key and of mounts have letters, digits, dots, hyphens and underscores", tallystick.ErrInvalid)
	case strings.ContainsAny(o.Namespace+o.RoleID, "\r\n"):
		return nil, fmt.Errorf("%w: namespace and role_id are one line", tallystick.ErrInvalid)
	case (o.TokenFile == "") == (o.RoleID == ""), (o.RoleID == "") != (o.SecretIDFile == ""):
		return nil, fmt.Errorf("%w: transit needs token_file, or role_id and secret_id_file", tallystick.ErrInvalid)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		if config.RootCAs, err = readRoots(o.CAFile); err != nil {
			return nil, err
		}
	}
	return &Transit{options: o, base: base, client: &http.Client{
		Timeout:       transitPatience,
		Transport:     &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: rewrapWidth, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// transitBase reads the address of a server. Without TLS, data keys and the token
// would cross the network in clear, so that it may only be on this machine.
func transitBase(address string) (*url.URL, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("%w: the address of a transit server is like https://bao.example.com:8200", tallystick.ErrInvalid)
	}
	ip := net.ParseIP(base.Hostname())
	if base.Scheme != "https" && (base.Scheme != "http" || ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: a transit server is reached by https, or by http at a loopback address", tallystick.ErrInvalid)
	}
	base.Path = ""
	return base, nil
}

// readRoots reads the certificates of CAs.
func readRoots(path string) (*x509.CertPool, error) {
	text, err := readBounded(path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("couldn't read ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("couldn't read ca_file: %w: %s holds no certificate in PEM", tallystick.ErrInvalid, path)
	}
	return roots, nil
}

// Identity implements Wrapper. The address is no part of the id: servers move.
func (t *Transit) Identity() Identity {
	return Identity{ID: "transit:" + t.options.Mount + "/" + t.options.Key, Kind: KindTransit, About: "the key " + t.options.Key + " of " + t.base.String()}
}

// An encryption is the request and the answer of encrypt and decrypt.
type encryption struct {
	Plaintext      []byte `json:"plaintext,omitempty"`       // base64 in JSON, as the API has it
	AssociatedData []byte `json:"associated_data,omitempty"` // likewise
	Ciphertext     string `json:"ciphertext,omitempty"`
}

// Wrap implements Wrapper.
func (t *Transit) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	answer, err := t.ask(ctx, "encrypt", encryption{Plaintext: key, AssociatedData: aad})
	if err != nil {
		return nil, err
	}
	if !transitCipher.MatchString(answer.Ciphertext) {
		return nil, fmt.Errorf("%w: the transit server answered something else than a ciphertext", tallystick.ErrUnavailable)
	}
	return append([]byte{formOne}, answer.Ciphertext...), nil
}

// Unwrap implements Wrapper.
func (t *Transit) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < 1 || wrapped[0] != formOne || !transitCipher.Match(wrapped[1:]) {
		return nil, fmt.Errorf("%w: it is not a ciphertext of a transit server", tallystick.ErrDamaged)
	}
	answer, err := t.ask(ctx, "decrypt", encryption{Ciphertext: string(wrapped[1:]), AssociatedData: aad})
	if err != nil {
		return nil, err
	}
	return answer.Plaintext, nil
}

// ask has the server encrypt or decrypt. When a login has ended it signs in again, once.
func (t *Transit) ask(ctx context.Context, verb string, body encryption) (encryption, error) {
	var answer struct {
		Data encryption `json:"data"`
	}
	path := "/v1/" + t.options.Mount + "/" + verb + "/" + t.options.Key
	for again := false; ; again = true {
		token, err := t.signIn(ctx, again)
		if err != nil {
			return encryption{}, err
		}
		status, err := t.post(ctx, path, token, body, &answer)
		clear(token)
		if status == http.StatusForbidden && t.options.RoleID != "" && !again {
			continue
		}
		return answer.Data, err
	}
}

// signIn returns a token, which the caller clears.
func (t *Transit) signIn(ctx context.Context, again bool) ([]byte, error) {
	if t.options.RoleID == "" {
		// Agents write tokens that their group may read.
		return readLine(t.options.TokenFile, secrecy{closed: 0o027})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.token) > 0 && !again {
		return bytes.Clone(t.token), nil
	}
	secret, err := readLine(t.options.SecretIDFile, secrecy{})
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	body := struct {
		Role   string `json:"role_id"`
		Secret string `json:"secret_id"`
	}{t.options.RoleID, string(secret)}
	if _, err := t.post(ctx, "/v1/auth/"+t.options.AppRole+"/login", nil, body, &answer); err != nil {
		return nil, fmt.Errorf("couldn't sign in: %w", err)
	}
	if answer.Auth.Token == "" || len(answer.Auth.Token) > maxToken || strings.ContainsAny(answer.Auth.Token, "\r\n") {
		return nil, fmt.Errorf("%w: the transit server signed us in without a token", tallystick.ErrUnavailable)
	}
	clear(t.token)
	t.token = []byte(answer.Auth.Token)
	return bytes.Clone(t.token), nil
}

// readLine reads a file with one line, which is not quoted by errors.
func readLine(path string, s secrecy) ([]byte, error) {
	text, err := readPrivate(path, maxToken, s)
	if err != nil {
		// An agent that has not written it yet is as good as no server.
		return nil, fmt.Errorf("%w: couldn't read a secret of the transit server: %w", tallystick.ErrUnavailable, err)
	}
	line := bytes.TrimSpace(text)
	if len(line) == 0 || bytes.ContainsAny(line, "\r\n") {
		clear(text)
		return nil, fmt.Errorf("%w: %s has to hold one line", tallystick.ErrUnavailable, path)
	}
	return line, nil
}

// post sends a request. The error says the status and nothing that was sent or
// answered; the answer's text could quote either.
func (t *Transit) post(ctx context.Context, path string, token []byte, body, answer any) (status int, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, errors.New("couldn't encode a request")
	}
	defer clear(text)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.base.String()+path, bytes.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("%w: the address of the transit server", tallystick.ErrInvalid)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Vault-Request", "true")
	if len(token) > 0 {
		request.Header.Set("X-Vault-Token", string(token))
	}
	if t.options.Namespace != "" {
		request.Header.Set("X-Vault-Namespace", t.options.Namespace)
	}
	response, err := t.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("%w: the transit server %s does not answer: %w", tallystick.ErrUnavailable, t.base.Host, inner(err))
	}
	defer response.Body.Close() // it was read
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	defer clear(content)
	if err != nil {
		return 0, fmt.Errorf("%w: the transit server %s broke off", tallystick.ErrUnavailable, t.base.Host)
	}
	if err := t.statusError(response.StatusCode, path); err != nil {
		return response.StatusCode, err
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return response.StatusCode, fmt.Errorf("%w: the transit server %s answered something else than JSON", tallystick.ErrUnavailable, t.base.Host)
	}
	return response.StatusCode, nil
}

// statusError gives a status its meaning
// (https://openbao.org/api-docs/#http-status-codes).
func (t *Transit) statusError(status int, path string) error {
	why := "it says " + http.StatusText(status)
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusBadRequest && strings.Contains(path, "/decrypt/"):
		return fmt.Errorf("%w: the transit server does not decrypt it with the key %s", tallystick.ErrDamaged, t.options.Key)
	case status == http.StatusBadRequest:
		why = "it refuses the request: is " + t.options.Key + " a key of type aes256-gcm96?"
	case status == http.StatusForbidden:
		why = "it does not let us use the key " + t.options.Key
	case status == http.StatusNotFound:
		why = "it knows no mount " + t.options.Mount + ", or no such key"
	case status == http.StatusServiceUnavailable:
		why = "it is sealed, or in maintenance"
	case status >= 300 && status < 400:
		why = "it sends us elsewhere, and that is not followed"
	}
	return fmt.Errorf("%w: the transit server %s: %s (status %d)", tallystick.ErrUnavailable, t.base.Host, why, status)
}

// inner drops the URL and the verb from an error of net/http.
func inner(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
