// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/oauth"
)

// graphID is the application id of Microsoft Graph in every tenant.
const graphID = "00000003-0000-0000-c000-000000000000"

// tokenEndpoint is where a tenant issues tokens.
func tokenEndpoint(login *url.URL, tenant string) *url.URL {
	u := *login
	u.Path = "/" + tenant + "/oauth2/v2.0/token"
	return &u
}

func (c *client) tokenKey() tokenKey {
	return tokenKey{login: c.login.Host, tenant: c.tenant, application: c.application, scope: c.scope, credential: c.digest()}
}

// token returns a token that is good for some minutes more, the one that was there if it is.
func (c *client) token(ctx context.Context) (driver.Secret, error) {
	s := c.cloud.slot(c.tokenKey(), c.now())
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return driver.Secret{}, ctx.Err()
	}
	if !s.token.IsZero() && c.now().Before(s.ends) {
		return s.token, nil
	}
	answer, err := c.signIn(ctx)
	if err != nil {
		return driver.Secret{}, err
	}
	s.token, s.ends = answer.Token, c.now().Add(answer.Expires-min(5*time.Minute, answer.Expires/2))
	return s.token, nil
}

// forget throws a token away that was not taken.
func (c *client) forget(ctx context.Context, token driver.Secret) {
	s := c.cloud.slot(c.tokenKey(), c.now())
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return
	}
	if s.token == token {
		s.token = driver.Secret{}
	}
}

// signIn asks for a token.
func (c *client) signIn(ctx context.Context) (oauth.Answer, error) {
	for try := 0; ; try++ {
		status, wait, answer, err := c.ask(ctx)
		if err != nil {
			return oauth.Answer{}, &signInError{error: fmt.Errorf("couldn't sign in at the tenant %s: %w", c.tenant, err)}
		}
		if status == http.StatusOK && !answer.Token.IsZero() {
			return answer, nil
		}
		later := status == http.StatusTooManyRequests || status >= 500
		unsettled := c.settles && slices.Contains(answer.Codes, codeUnknownKey) && try < unsettledTries
		err = &signInError{fmt.Errorf("couldn't sign in at the tenant %s: %w: %d %s", c.tenant, kindOf(status, answer), status, answer), answer.Codes}
		if !later && !unsettled {
			return oauth.Answer{}, err
		}
		if waited := c.wait(ctx, wait, try); waited != nil {
			return oauth.Answer{}, errors.Join(err, waited)
		}
	}
}

// codeUnknownKey is AADSTS700027: the assertion is signed by a key that the application does not have.
const codeUnknownKey = 700027

func kindOf(status int, answer oauth.Answer) error {
	switch {
	case status == http.StatusTooManyRequests || status >= 500:
		return tallystick.ErrUnavailable
	case answer.Refused(status) || answer.Error == "unauthorized_client":
		return tallystick.ErrDenied
	case answer.Error == "invalid_client": // not of the credential, but of the assertion: a clock that is wrong, ours or theirs
		return tallystick.ErrUnavailable
	}
	return tallystick.ErrInvalid
}

// ask posts to the token endpoint once.
func (c *client) ask(ctx context.Context) (status int, wait time.Duration, answer oauth.Answer, err error) {
	at := tokenEndpoint(c.login, c.tenant)
	form, err := oauth.Request{Endpoint: at, ClientID: c.application, Scope: c.scope, Credential: c.material, Secret: c.secret}.Form(c.now())
	if err != nil {
		return 0, 0, answer, err
	}
	correlation := uuid.NewString()
	response, err := c.roundTrip(ctx, http.MethodPost, at, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"}, "Client-Request-Id": {correlation},
	}, []byte(form))
	if err != nil {
		return 0, 0, answer, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, oauth.MaxAnswer))
	if err != nil {
		return 0, 0, answer, c.unread(ctx, err)
	}
	answer = oauth.Read(response.Header, text, c.secret)
	answer.IDs.Correlation = correlation
	c.tell(ctx, response.StatusCode, answer)
	return response.StatusCode, retryAfter(response.Header, c.now()), answer, nil
}

// tell says that this driver has signed in, so that nobody takes it for a thief.
func (c *client) tell(ctx context.Context, status int, answer oauth.Answer) {
	if c.used == nil || status != http.StatusOK && !answer.Refused(status) {
		return
	}
	names := []string{accountName(c.application)} // so are those who show a wrong secret
	switch {
	case c.material.Key != nil:
		names = c.material.Names()
	case status == http.StatusOK:
		names = []string{cmp.Or(c.named, c.ownSecret(ctx, answer.Token), names[0])}
	}
	use := tallystick.Use{
		Time: c.now(), Level: tallystick.LevelToken, Credential: names, RelyingParty: "entra:" + c.tenant + "/" + resourceOf(c.scope),
		Outcome: tallystick.OutcomeSuccess, Operation: "sign-in", Detail: "Tallystick, to look or to change something", IDs: answer.IDs,
	}
	if status != http.StatusOK {
		use.Outcome, use.Detail = tallystick.OutcomeRefused, answer.String()
	}
	c.used(use)
}

func accountName(application string) string { return "account:entra-app/" + application }

// ownSecret names the client secret that has signed in, as sign-in logs do, where the
// application may read its own secrets; "" elsewhere. An application of another tenant is not there.
func (c *client) ownSecret(ctx context.Context, token driver.Secret) string {
	if c.base != c.graph {
		return "" // the token is for something else
	}
	u := c.url("/v1.0/applications(appId='"+c.application+"')", url.Values{"$select": {"id,passwordCredentials"}})
	response, err := c.roundTrip(ctx, http.MethodGet, u, http.Header{"Authorization": {"Bearer " + token.Reveal()}, "Accept": {"application/json"}}, nil)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var own secretOwner
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&own) != nil {
		return ""
	}
	return own.nameOf(c.secret)
}

// resourceOf names what a token is for, as sign-in logs do.
func resourceOf(scope string) string {
	resource := strings.TrimSuffix(scope, "/.default")
	if resource == "https://graph.microsoft.com" {
		return graphID
	}
	return resource
}

// proof signs that the caller has a key of an application or service principal, for addKey and
// removeKey ("Generate proof of possession tokens for rolling keys").
func (c *client) proof(objectID string) (string, error) {
	const audience = "00000002-0000-0000-c000-000000000000"
	now := c.now()
	return oauth.Sign(c.material, "RS256", map[string]any{
		"aud": audience, "iss": objectID, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
}
