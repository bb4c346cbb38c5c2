// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Bounds of what one request takes.
const (
	maxBody  = 32 << 20        // bytes of one answer; a page of 1,000 sign-ins has some MB
	maxError = 64 << 10        // bytes of one error
	maxTime  = 2 * time.Minute // for one request, with its body
	maxFile  = 1 << 20         // bytes of the files that options name
)

// A client asks one service of Microsoft for one tenant, as one application. It is made for
// the length of one call, and is safe for several goroutines.
type client struct {
	cloud       *cloud
	http        *http.Client
	host        driver.Host
	login       *url.URL
	graph       *url.URL
	base        *url.URL // of the service
	scope       string   // of its tokens
	tenant      string
	application string // that signs in
	material    driver.Material
	secret      driver.Secret
	named       string // what sign-in logs call the secret, where that is known
	now         func() time.Time
	// used is told of each sign-in that was answered; nil tells nobody.
	used func(tallystick.Use)
	// settles says that the credential may be so new that not all of Entra ID knows it yet.
	settles bool
	// left is how long this call may still wait where Microsoft says "later", in nanoseconds.
	left *atomic.Int64
}

// client makes one for Microsoft Graph. It reads the files of the options anew, so that what a
// recall has replaced is taken up.
func (e *Entra) client(ctx context.Context, h driver.Host, tenant string, now func() time.Time) (*client, error) {
	c := &client{
		cloud: e.cloud, host: h, login: e.login, graph: e.graph, base: e.graph, scope: e.Scope, tenant: tenant,
		application: cmp.Or(e.As, e.Application), now: now, left: new(atomic.Int64),
	}
	c.left.Store(int64(e.Patience))
	if c.application == "" {
		return nil, invalid("option application: name the application that signs in, by its client id")
	}
	if err := e.credential(ctx, c); err != nil {
		return nil, err
	}
	var roots []byte
	if e.CA != "" {
		var err error
		if roots, err = h.ReadFile(ctx, e.CA, maxFile); err != nil {
			return nil, fmt.Errorf("couldn't read the option ca: %w", err)
		}
	}
	transport, err := e.cloud.transport(h, roots)
	if err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: transport, Timeout: maxTime, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // Graph has no reason to send us elsewhere with a token
	}}
	return c, nil
}

// credential reads what signs in.
func (e *Entra) credential(ctx context.Context, c *client) error {
	switch {
	case e.Credential != "":
		text, err := c.host.ReadFile(ctx, e.Credential, maxFile)
		if err != nil {
			return fmt.Errorf("couldn't read the option credential: %w", err)
		}
		if c.material, err = c.cloud.material(text); err != nil {
			return fmt.Errorf("option credential: %s: %w", e.Credential, err)
		}
		if c.material.Key == nil {
			return invalid("option credential: there is no private key without a passphrase in %s", e.Credential)
		}
	case e.Secret != "":
		text, err := c.host.ReadFile(ctx, e.Secret, maxFile)
		if err != nil {
			return fmt.Errorf("couldn't read the option secret: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if c.secret = driver.NewSecret(strings.TrimSpace(line)); c.secret.IsZero() {
			return invalid("option secret: the first line of %s is empty", e.Secret)
		}
	default:
		return invalid("name a PEM file in the option credential, or a file in the option secret: something must sign in")
	}
	return nil
}

// at returns the same client for another service of Microsoft, which shares how long it may wait.
func (c *client) at(base *url.URL, scope string) *client {
	other := *c
	other.base, other.scope = base, scope
	return &other
}

// digest names the credential that signs in.
func (c *client) digest() [sha256.Size]byte {
	if c.material.Key != nil {
		return sha256.Sum256(c.material.Chain[0])
	}
	return sha256.Sum256([]byte("secret " + c.secret.Reveal()))
}

// url returns the URL of a path of the service, such as "/v1.0/applications", with a query or nil.
func (c *client) url(path string, query url.Values) *url.URL {
	u := *c.base
	u.Path, u.RawQuery = path, query.Encode()
	return &u
}

// get reads one object.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) error {
	return c.read(ctx, http.MethodGet, c.url(path, query), nil, into)
}

// send writes. What is not nil is sent, and read into, as JSON. An error says nothing about
// whether it happened.
func (c *client) send(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		text = nil
	}
	return c.read(ctx, method, c.url(path, nil), text, into)
}

func (c *client) read(ctx context.Context, method string, u *url.URL, body []byte, into any) error {
	response, err := c.do(ctx, method, u, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, response.Body) // so that the connection can be used again
	} else {
		err = json.NewDecoder(response.Body).Decode(into)
	}
	if err != nil {
		return c.unread(ctx, err)
	}
	return nil
}

// do asks with a token, and returns an answer of 2xx, whose body is bounded and whose caller
// closes it. It waits where Microsoft says so ("Microsoft Graph throttling guidance"): 429
// says that nothing was done, whatever was asked; 503 and 504 say nothing of it, so that a
// write is not repeated here. A token that is not taken any more is asked for anew, once.
func (c *client) do(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	if u.Scheme != c.base.Scheme || u.Host != c.base.Host || u.User != nil {
		return nil, invalid("an answer of %s leads to another host, %s, which is not asked", c.base.Host, network.Quote(u.Host))
	}
	renewed := false
	for try := 0; ; try++ {
		token, err := c.token(ctx)
		if err != nil {
			return nil, err
		}
		header := http.Header{"Authorization": {"Bearer " + token.Reveal()}, "Accept": {"application/json"}}
		if body != nil {
			header.Set("Content-Type", "application/json")
		}
		response, err := c.roundTrip(ctx, method, u, header, body)
		if err != nil {
			return nil, err
		}
		if response.StatusCode >= 200 && response.StatusCode < 300 {
			return response, nil
		}
		refused := c.readError(response)
		switch {
		case refused.Status == http.StatusUnauthorized && refused.Code != badProof && !renewed:
			renewed = true
			c.forget(ctx, token)
		case refused.Status == http.StatusTooManyRequests, method == http.MethodGet && (refused.Status == http.StatusServiceUnavailable || refused.Status == http.StatusGatewayTimeout):
			if err := c.wait(ctx, refused.RetryAfter, try); err != nil {
				return nil, errors.Join(refused, err)
			}
		default:
			return nil, refused
		}
	}
}

// roundTrip sends one request.
func (c *client) roundTrip(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(context.WithValue(ctx, hostKey{}, c.host), method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, invalid("couldn't make a request to %s", network.Quote(u.Host))
	}
	request.Header = header
	header.Set("User-Agent", "Tallystick")
	if header.Get("Client-Request-Id") == "" {
		header.Set("Client-Request-Id", uuid.NewString())
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unread(ctx, err)
	}
	response.Body = &bounded{ReadCloser: response.Body, left: maxBody}
	return response, nil
}

// unread makes an error of a request that had no answer fit to be read. The URL is not in it.
func (c *client) unread(ctx context.Context, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	switch _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case untrusted:
		return fmt.Errorf("%w: %s; name its root in the option ca", tallystick.ErrUnavailable, network.Clean(err.Error()))
	}
	return fmt.Errorf("%w: no answer of %s that can be read: %s", tallystick.ErrUnavailable, c.base.Host, network.Clean(err.Error()))
}

// A bounded body fails behind its bound, where a cut one would look whole.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer has more than %d bytes", maxBody)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Waiting where nobody says how long: it doubles, and is spread so that thousands of doors do
// not come back together.
const (
	firstWait = time.Second
	mostWait  = 30 * time.Second
)

// wait waits for as long as was said, or, where nothing was (0), for longer with each try. What
// is beyond what the call may wait is ErrUnavailable.
func (c *client) wait(ctx context.Context, said time.Duration, try int) error {
	if said <= 0 {
		said = min(firstWait<<min(try, 10), mostWait)
		said += rand.N(said/2) - said/4
	}
	if c.left.Add(-int64(said)) < 0 {
		c.left.Add(int64(said))
		return fmt.Errorf("%w: come again in %s", tallystick.ErrUnavailable, said.Round(time.Second))
	}
	timer := time.NewTimer(said)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// forbidden says what permission is missing where an error is for want of one.
func (c *client) forbidden(err error, permission string) error {
	if said, ok := errors.AsType[*apiError](err); ok && said.Status == http.StatusForbidden {
		return fmt.Errorf("%w; grant %s to the application %s in the tenant %s, or have an administrator there do it", err, permission, c.application, c.tenant)
	}
	return err
}
