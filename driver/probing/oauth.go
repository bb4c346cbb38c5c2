// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/oauth"
)

// protocolOAuth is the protocol of token endpoints, where a certificate signs an assertion.
const protocolOAuth = "oauth"

const (
	tokenPatience = 30 * time.Second // for one try, with waiting where the endpoint says "later"
	laterPause    = 2 * time.Second  // where it does not say how much later
)

// A tokenDoor is a listener that issues tokens.
type tokenDoor struct {
	spot
	endpoint *url.URL
	roots    *x509.CertPool // nil: those of this machine
}

// tokenDoorOf reads the details of a listener. The endpoint must be at the address: an
// assertion is only ever sent to whom it is for.
func tokenDoorOf(s spot) (tokenDoor, error) {
	endpoint, err := oauth.ParseEndpoint(s.Details["token_endpoint"])
	if err != nil {
		return tokenDoor{}, err
	}
	if at := net.JoinHostPort(endpoint.Hostname(), cmp.Or(endpoint.Port(), "443")); !strings.EqualFold(at, s.Listener.Address) {
		return tokenDoor{}, invalid("the token endpoint is at %s, and the listener at %s", at, s.Listener.Address)
	}
	if s.Details["client_id"] == "" {
		return tokenDoor{}, invalid("a listener that speaks oauth needs the detail client_id")
	}
	d := tokenDoor{spot: s, endpoint: endpoint}
	if roots := s.Details["roots"]; roots != "" {
		d.roots = x509.NewCertPool()
		if !d.roots.AppendCertsFromPEM([]byte(roots)) {
			return tokenDoor{}, invalid("the detail roots holds no certificate")
		}
	}
	return d, nil
}

// askToken asks a token endpoint for a token, and throws it away. Whether one is given is a
// matter of the directory behind the endpoint, so that one address of it is enough.
func (p *prober) askToken(ctx context.Context, s spot) driver.Attempt {
	attempt := s.attempt(driver.WayFresh, p.now)
	ctx, cancel := context.WithTimeout(ctx, tokenPatience)
	defer cancel()
	d, err := tokenDoorOf(s)
	if err != nil {
		attempt.Answer = clean(err.Error())
		return attempt
	}
	for {
		status, later, answer, err := p.post(ctx, d, &attempt)
		if err != nil {
			attempt.Answer = because(ctx, err)
			if ctx.Err() != nil {
				attempt.Answer = fmt.Sprintf("no answer within %s", tokenPatience)
			}
			return attempt
		}
		attempt.IDs = answer.IDs.Map()
		attempt.Answer = clean(fmt.Sprintf("%d %s", status, answer))
		switch {
		case status == http.StatusOK && !answer.Token.IsZero():
			attempt.Outcome = driver.OutcomeAccepted
		case answer.Refused(status):
			attempt.Outcome = driver.OutcomeRefused
		case status == http.StatusTooManyRequests && pause(ctx, later):
			continue
		}
		return attempt
	}
}

// pause waits, and says whether there is time left after it.
func pause(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// post asks once, on a connection of its own. Who the server is is checked: others may have no assertion.
func (p *prober) post(ctx context.Context, d tokenDoor, attempt *driver.Attempt) (status int, later time.Duration, answer oauth.Answer, err error) {
	form, err := oauth.Request{Endpoint: d.endpoint, ClientID: d.Details["client_id"], Scope: d.Details["scope"], Credential: p.material}.Form(p.now())
	if err != nil {
		return 0, 0, answer, err
	}
	conn, stop, err := p.connect(ctx, d.spot)
	if err != nil {
		return 0, 0, answer, err
	}
	defer conn.Close()
	defer stop()
	client := tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: d.endpoint.Hostname(), RootCAs: d.roots, NextProtos: []string{"http/1.1"},
	})
	if err := client.HandshakeContext(ctx); err != nil {
		return 0, 0, answer, err
	}
	attempt.Served = served(client.ConnectionState())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint.String(), strings.NewReader(form))
	if err != nil {
		return 0, 0, answer, err
	}
	correlation := uuid.NewString()
	request.Header = http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "User-Agent": {"tallystick"}, "Client-Request-Id": {correlation},
	}
	request.Close = true
	if err := request.Write(client); err != nil {
		return 0, 0, answer, err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(client, lineLimit), request)
	if err != nil {
		return 0, 0, answer, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, oauth.MaxAnswer+1))
	if err == nil && len(body) > oauth.MaxAnswer {
		err = errors.New("the server sent more than an answer needs")
	}
	if err != nil {
		return 0, 0, answer, err
	}
	answer = oauth.Read(response.Header, body)
	answer.IDs.Correlation = correlation
	return response.StatusCode, laterOf(response.Header, p.now()), answer, nil
}

// laterOf reads Retry-After.
func laterOf(header http.Header, now time.Time) time.Duration {
	if after, said := network.RetryAfter(header.Get("Retry-After"), now); said && after > 0 {
		return after
	}
	return laterPause
}
