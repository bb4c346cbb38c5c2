// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// askTime bounds one question to the server; a claim waits for claimWait.
const askTime = 45 * time.Second

// A client asks the server.
type client struct {
	address string
	http    *http.Client
}

// newClient returns a client of a server that is known by its pin. Without a certificate
// to show it can only enrol.
func newClient(address, pin string, own tls.Certificate, now func() time.Time) *client {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: serverName,
		// Who the server is is known by its pin and not by a CA that this machine trusts.
		InsecureSkipVerify: true, VerifyConnection: pinned(pin, now),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	}
	return &client{address: address, http: &http.Client{
		Timeout: askTime,
		// No proxy: nobody in between has anything to read.
		Transport:     &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// close ends the connections that nobody waits for an answer on; others end with the answer.
func (c *client) close() { c.http.CloseIdleConnections() }

// ask sends a message and reads the answer. A server that cannot be reached is
// ErrUnavailable; what it refuses is an error of the kind that it says.
func (c *client) ask(ctx context.Context, word string, message, answer any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if len(body) > maxBody {
		return fmt.Errorf("%w: the message has %d bytes, and the server takes %d", tallystick.ErrInvalid, len(body), maxBody)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.address+Root+word, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		if errors.Is(err, tallystick.ErrDenied) {
			return problem.With(fmt.Errorf("couldn't believe the server at %s: %w", c.address, err), "Somebody is in between, or the server was set up anew: make a new token there.")
		}
		return fmt.Errorf("couldn't reach the server at %s: %w: %w", c.address, tallystick.ErrUnavailable, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil || len(text) > maxAnswer {
		return fmt.Errorf("couldn't read the answer of the server: %w", errors.Join(tallystick.ErrUnavailable, err))
	}
	if response.StatusCode != http.StatusOK {
		return refusal(response.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%w: the server at %s does not answer as one for agents", tallystick.ErrUnavailable, c.address)
	}
	return nil
}

// refusal is what the server said instead of an answer.
func refusal(status int, text []byte) error {
	var said failure
	if json.Unmarshal(text, &said) != nil || said.Kind == "" {
		return fmt.Errorf("%w: the server answered with status %d", tallystick.ErrUnavailable, status)
	}
	detail := cut(said.Detail, maxText)
	if detail == "" {
		detail = "the server could not do it"
	}
	if said.Kind == "other" {
		return fmt.Errorf("%w: %s", tallystick.ErrUnavailable, detail)
	}
	err := ErrorOf(detail, said.Kind)
	if said.Hint != "" {
		err = problem.With(err, cut(said.Hint, maxText))
	}
	return err
}
