// SPDX-License-Identifier: Apache-2.0

package issuing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Bounds of what one call of a driver takes from a CA.
const (
	maxBody     = 4 << 20     // bytes of one answer
	maxRequests = 1000        // so that a CA that sends us round in a circle is left
	maxWait     = time.Minute // for one answer
	maxRetry    = 7 * 24 * time.Hour
)

// Settings say how a CA is reached.
type Settings struct {
	URL     string   // of the CA; https
	Hosts   []string // further hosts, with a port unless it is 443, to which its answers may lead
	Roots   string   // PEM file of the roots of its TLS certificate; "" is what this machine trusts
	Secrets []driver.Secret
	// Certificate and Key are PEM files to show to the CA; "" without one.
	Certificate, Key string
}

// Base checks the URL and returns it without a slash at its end.
func (s Settings) Base() (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(s.URL, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %s is not a URL such as https://ca.example.com", tallystick.ErrInvalid, network.Quote(s.URL))
	}
	return u, nil
}

// A Client speaks HTTPS to one CA for the length of one call. It follows no
// redirect, knows no proxy, asks no host that nobody named, and takes a bounded
// amount. Close it.
type Client struct {
	HTTP     *http.Client
	secrets  []driver.Secret
	hosts    []string
	requests atomic.Int64
	retry    atomic.Value // string, the Retry-After of the latest answer
	inner    *http.Transport
}

// Client makes one. It reads the files of the settings anew, so that a renewed
// certificate is taken up.
func (s Settings) Client() (*Client, error) {
	base, err := s.Base()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.Roots != "" {
		text, err := os.ReadFile(s.Roots)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the option roots: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: option roots: no certificate in %s", tallystick.ErrInvalid, s.Roots)
		}
	}
	if s.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.Key)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the options certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return newClient(config, s.Secrets, append([]string{hostOf(base)}, hostsOf(s.Hosts)...)), nil
}

func newClient(config *tls.Config, secrets []driver.Secret, hosts []string) *Client {
	c := &Client{secrets: secrets, hosts: hosts, inner: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, MaxConnsPerHost: 4,
		TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: maxWait,
		DialContext: (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
	}}
	c.HTTP = &http.Client{Transport: c, Timeout: maxWait, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a CA that has moved is named anew by the operator
	}}
	return c
}

// Trust changes how the CA's server is known, before anything is asked.
func (c *Client) Trust(change func(*tls.Config)) { change(c.inner.TLSClientConfig) }

// Close ends the connections.
func (c *Client) Close() { c.inner.CloseIdleConnections() }

// ErrOtherHost says that an answer of a CA leads to a host that nobody named.
var ErrOtherHost = errors.New("it leads to another host")

// RoundTrip is the one way out: whatever a library was told by a CA to fetch comes
// through here.
func (c *Client) RoundTrip(request *http.Request) (*http.Response, error) {
	u := request.URL
	if u.Scheme != "https" || u.User != nil || !slices.Contains(c.hosts, hostOf(u)) {
		return nil, fmt.Errorf("%w: %w, %s; name that in the option hosts if it may be asked", tallystick.ErrInvalid, ErrOtherHost, network.Quote(u.Scheme+"://"+u.Host))
	}
	if c.requests.Add(1) > maxRequests {
		return nil, fmt.Errorf("the CA needed more than %d requests", maxRequests)
	}
	response, err := c.inner.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	c.retry.Store(response.Header.Get("Retry-After"))
	response.Body = &bounded{ReadCloser: response.Body, left: maxBody}
	return response, nil
}

// RetryAfter returns when the latest answer said to come back (RFC 9110 section
// 10.2.3), a week from now at the latest; zero when it did not.
func (c *Client) RetryAfter(now time.Time) time.Time {
	text, _ := c.retry.Load().(string)
	after, said := network.RetryAfter(text, now)
	if !said {
		return time.Time{}
	}
	return now.Add(min(after, maxRetry))
}

// A bounded body fails behind its bound, where a cut one would look whole.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the CA's answer has more than %d bytes", maxBody)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// Do sends a request and reads the whole answer. An error means that there was
// none; see Failed for its kind.
func (c *Client) Do(ctx context.Context, method, address string, header http.Header, body []byte) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(string(body)))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s is not a URL", tallystick.ErrInvalid, network.Quote(address))
	}
	for name, values := range header {
		request.Header[name] = values
	}
	request.Header.Set("User-Agent", "Tallystick")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, nil, c.Failed(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, c.Failed(ctx, err)
	}
	return response.StatusCode, answer, nil
}

// Failed makes an error of a request that had no answer fit for readers: that of
// the context when it has ended, ErrInvalid when the CA led elsewhere, and
// ErrUnavailable else. Neither the URL nor a secret is in it.
func (c *Client) Failed(ctx context.Context, err error) error {
	var wrapped *url.Error
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrOtherHost):
		return err
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: %s; name the CA's root in the option roots", tallystick.ErrUnavailable, c.Clean(err.Error()))
	}
	return fmt.Errorf("%w: %s", tallystick.ErrUnavailable, c.Clean(err.Error()))
}

// Refused makes an error of an answer that was not what was asked for, with what
// the CA says: ErrDenied for 401 and 403, ErrUnavailable for what passes (408,
// 412, 425, 429 and from 500), ErrInvalid for the other ones of 4xx.
func (c *Client) Refused(status int, says string) error {
	kind := fmt.Errorf("an answer that was not expected")
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		kind = tallystick.ErrDenied
	case status == http.StatusRequestTimeout, status == http.StatusPreconditionFailed, status == http.StatusTooEarly,
		status == http.StatusTooManyRequests, status >= 500:
		kind = tallystick.ErrUnavailable
	case status >= 400:
		kind = tallystick.ErrInvalid
	case status >= 300:
		says = "it answers with a redirect, which is not followed"
	}
	return fmt.Errorf("%w: the CA says %d %s", kind, status, c.Clean(says))
}

// Clean makes foreign text fit for an error: bounded, printable, and without the
// secrets of the settings, which a CA may echo.
func (c *Client) Clean(text string) string {
	return network.Clean(strings.TrimSpace(driver.Redact(text, c.secrets...)))
}

// Hide adds secrets that came up during the call, such as a session token.
func (c *Client) Hide(secrets ...driver.Secret) { c.secrets = append(c.secrets, secrets...) }

func hostsOf(hosts []string) []string {
	var all []string
	for _, host := range hosts {
		all = append(all, strings.TrimSuffix(strings.ToLower(strings.TrimSpace(host)), ":443"))
	}
	return all
}

// hostOf names the host of a URL with its port, unless that is 443.
func hostOf(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":443") }
