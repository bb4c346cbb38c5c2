// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// The ways to prove a name (RFC 8555 section 8, RFC 8737).
const (
	http01    = "http-01"
	dns01     = "dns-01"
	tlsALPN01 = "tls-alpn-01"
)

// A challenge is one way to prove the name of an authorization, as it is kept.
type challenge struct {
	Type      string    `json:"type"`
	Token     string    `json:"token"`
	Status    string    `json:"status"`
	Validated time.Time `json:"validated,omitzero"`
	Error     *Problem  `json:"error,omitempty"`
}

// offer returns the challenges that can prove a name: a wildcard by DNS alone
// (section 8.4 and 7.1.3), an address by all but DNS (RFC 8738 section 7).
func (s *Server) offer(a store.ACMEAuthorization) []challenge {
	var list []challenge
	for _, kind := range s.Challenges {
		if a.Wildcard && kind != dns01 || a.Kind == typeIP && kind == dns01 {
			continue
		}
		list = append(list, challenge{Type: kind, Token: newToken(), Status: statusPending})
	}
	return list
}

func challengesText(list []challenge) string {
	text, err := json.Marshal(list)
	if err != nil {
		panic("acme: challenges do not encode: " + err.Error())
	}
	return string(text)
}

// challengesOf reads those of an authorization; what is damaged has none.
func challengesOf(a store.ACMEAuthorization) []challenge {
	var list []challenge
	if json.Unmarshal([]byte(a.Challenges), &list) != nil {
		return nil
	}
	return list
}

// authorizationState returns the status that clients see (section 7.1.6).
func authorizationState(a store.ACMEAuthorization, now time.Time) string {
	expired := !now.Before(a.Expires)
	switch {
	case a.Status == statusValid && expired:
		return "expired"
	case (a.Status == statusPending || a.Status == statusProcessing) && expired:
		return statusInvalid
	case a.Status == statusProcessing: // a challenge is; the authorization is not yet
		return statusPending
	}
	return a.Status
}

// A challengeBody is a challenge as clients see it (section 7.1.5).
type challengeBody struct {
	challenge
	URL string `json:"url"`
}

// An authorizationBody is an authorization as clients see it (section 7.1.4).
type authorizationBody struct {
	Identifier store.ACMEIdentifier `json:"identifier"`
	Status     string               `json:"status"`
	Expires    time.Time            `json:"expires"`
	Challenges []challengeBody      `json:"challenges"`
	Wildcard   bool                 `json:"wildcard,omitempty"`
}

func (x *exchange) challengeBody(a store.ACMEAuthorization, c challenge) challengeBody {
	return challengeBody{c, x.url("challenge", a.ID, c.Type)}
}

func (x *exchange) showAuthorization(a store.ACMEAuthorization) error {
	body := authorizationBody{
		Identifier: store.ACMEIdentifier{Type: a.Kind, Value: a.Value}, Status: authorizationState(a, x.Now()), Expires: a.Expires, Wildcard: a.Wildcard,
	}
	for _, c := range challengesOf(a) {
		// When it is over, only what was tried matters (section 7.1.4).
		if body.Status == statusPending || c.Status != statusPending {
			body.Challenges = append(body.Challenges, x.challengeBody(a, c))
		}
	}
	if body.Status == statusPending {
		x.header("Retry-After", "1")
	}
	return x.answer(http.StatusOK, body)
}

// ownAuthorization returns the authorization that the address names, if it is of
// who asks.
func (x *exchange) ownAuthorization() (store.ACMEAuthorization, error) {
	if len(x.rest) == 0 || !isID(x.rest[0]) {
		return store.ACMEAuthorization{}, notFound("authorization")
	}
	a, err := x.DB.ACMEAuthorization(x.ctx, x.rest[0])
	if errors.Is(err, tallystick.ErrNotFound) {
		return a, notFound("authorization")
	}
	if err == nil && a.Account != x.account.ID {
		return a, unauthorized("the authorization is of another account")
	}
	return a, err
}

// serveAuthorization shows an authorization, or gives it up (section 7.5.2).
func (x *exchange) serveAuthorization() error {
	a, err := x.ownAuthorization()
	if err != nil {
		return err
	}
	if x.isGet() {
		return x.showAuthorization(a)
	}
	var ask struct {
		Status string `json:"status"`
	}
	if err := x.read(&ask); err != nil {
		return err
	}
	if ask.Status != statusDeactivated {
		return malformed("the status of an authorization can be set to deactivated alone")
	}
	from := a.Status
	if !slices.Contains([]string{statusPending, statusProcessing, statusValid}, from) {
		return malformed("the authorization is %s", from)
	}
	a.Status = statusDeactivated
	if err := x.DB.ChangeACMEAuthorization(x.ctx, from, a); err != nil {
		return err
	}
	return x.showAuthorization(a)
}
