// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/tallystick/tallystick"
)

// Transport returns base with every request written down that signs in with the
// credential of the book: requests for tokens at Entra ID, at the level "token"
// with the identifier that the platform gave to the token, and every other
// request at the level "request". It changes nothing that is sent, and what it
// returns reads like what base returned. Nil is http.DefaultTransport.
func (b *Book) Transport(base http.RoundTripper, names ...string) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base, b, names}
}

type transport struct {
	base  http.RoundTripper
	book  *Book
	names []string
}

// maxBody bounds what is read of a body to look into it, in bytes. A body that
// is longer passes through unread.
const maxBody = 1 << 20

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	use := tallystick.Use{
		Level: tallystick.LevelRequest, Credential: t.names, RelyingParty: relyingParty(request.URL),
		Operation: request.Method, Resource: request.URL.Path, Agent: request.UserAgent(),
		IDs: tallystick.UseIDs{Correlation: request.Header.Get("client-request-id")},
	}
	request, form := t.tokenForm(request)
	if form != nil {
		use.Level, use.Resource = tallystick.LevelToken, ""
		use.Credential = append(assertionNames(form.Get("client_assertion")), t.names...)
	}
	began := t.book.Begin()
	response, err := t.base.RoundTrip(request)
	if err != nil || response == nil { // no answer and no error is a mistake of base, and not ours to end in
		began.End(unanswered(&use, err))
		return response, err
	}
	use.IDs.Request = cmp.Or(response.Header.Get("x-ms-request-id"), response.Header.Get("request-id"))
	use.Outcome = outcome(response.StatusCode)
	if form != nil && response.Body != nil {
		response.Body = peek(response.Body, func(body []byte) { readToken(&use, request.URL, form, response.StatusCode, body) })
	}
	began.End(&use)
	return response, nil
}

// relyingParty names a web server: "https:host:port".
func relyingParty(u *url.URL) string {
	port := cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])
	return u.Scheme + ":" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// outcome is what a status says of the sign-in: whoever answers with anything
// but these two has let the caller in.
func outcome(status int) tallystick.Outcome {
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return tallystick.OutcomeRefused
	}
	return tallystick.OutcomeSuccess
}

// unanswered is the use of a request that brought no answer: none at all when
// the server was never reached, and one whose end is not known otherwise.
func unanswered(use *tallystick.Use, err error) *tallystick.Use {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return nil
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return nil
	}
	use.Outcome = ""
	return use
}

// peek reads a body that is not longer than maxBody, shows it to see, and returns
// a body that reads the same.
func peek(body io.ReadCloser, see func([]byte)) io.ReadCloser {
	start, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err == nil && len(start) <= maxBody {
		see(start)
	}
	rest := io.Reader(body)
	if err != nil {
		rest = failing{err}
	}
	return &seen{io.MultiReader(bytes.NewReader(start), rest), body}
}

// seen is a body whose beginning was read already.
type seen struct {
	io.Reader
	body io.Closer
}

// Close implements io.Closer.
func (s *seen) Close() error { return s.body.Close() }

// failing fails as the body failed.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }
