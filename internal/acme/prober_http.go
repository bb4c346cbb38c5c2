// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/internal/store"
)

// Bounds of what an http-01 target may do.
const (
	maxRedirects   = 10
	maxProof       = 8 << 10 // bytes of the body: a key authorization has some 90
	maxReplyHeader = 16 << 10
)

// proveHTTP is RFC 8555 section 8.3, and RFC 8738 section 5 for addresses.
func (p *prober) proveHTTP(ctx context.Context, id store.ACMEIdentifier, token, keyAuthorization string) error {
	client := p.client()
	defer client.CloseIdleConnections()
	target := "http://" + hostPort(id.Value, p.httpPort, 80) + "/.well-known/acme-challenge/" + token
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "Tallystick (ACME validation)")
	r.Header.Set("Accept", "*/*")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return problem(http.StatusForbidden, "unauthorized", "the challenge's URL was answered with status %d, not 200", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxProof+1))
	if err != nil {
		return err
	}
	proof := strings.TrimRight(string(body), " \t\r\n")
	if len(body) > maxProof || subtle.ConstantTimeCompare([]byte(proof), []byte(keyAuthorization)) != 1 {
		return problem(http.StatusForbidden, "incorrectResponse", "what stands at the challenge's URL is not the key authorization")
	}
	return nil
}

// client makes an HTTP client that follows redirects to the ports of the web alone,
// and keeps nothing.
func (p *prober) client() *http.Client {
	return &http.Client{
		CheckRedirect: p.mayFollow,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				n, err := strconv.ParseUint(port, 10, 16)
				if err != nil {
					return nil, err
				}
				return p.dial(ctx, host, uint16(n))
			},
			// Whoever asks for a certificate has none that is trusted yet.
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxReplyHeader,
		},
	}
}

// mayFollow refuses redirects that lead away from the web (section 8.3).
func (p *prober) mayFollow(r *http.Request, via []*http.Request) error {
	refuse := func(why string) error {
		return problem(http.StatusForbidden, "unauthorized", "the challenge's URL redirects %s", why)
	}
	if len(via) > maxRedirects {
		return refuse("more than " + strconv.Itoa(maxRedirects) + " times")
	}
	if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		return refuse("to something else than http and https")
	}
	if r.URL.User != nil {
		return refuse("to a URL with a user name")
	}
	if port := portOf(r.URL); !slices.Contains([]uint16{80, 443, p.httpPort, p.tlsPort}, port) {
		return refuse("to a port that is not of the web")
	}
	return nil
}

// portOf returns the port that a URL means; 0 for one that is no port.
func portOf(u *url.URL) uint16 {
	if u.Port() == "" {
		return map[string]uint16{"http": 80, "https": 443}[u.Scheme]
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
