// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/oauth"
	"github.com/tallystick/tallystick/driver/trying"
)

// codeWrongSecret is AADSTS7000215: it is none of the secrets, or too new for the server that was asked.
const codeWrongSecret = 7000215

// TestSecret asks for tokens with secrets, and throws them away. Wrong ones are counted nowhere. A new
// one that is among the secrets, and refused, is tried again for as long as the option patience says:
// not every server knows it at once.
func (e *Entra) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	r, err := e.rotation(ctx, request)
	if err != nil {
		return driver.Tested{}, err
	}
	there := len(r.made(true)) > 0
	t := trying.Trial{Request: request}
	err = t.At(ctx, trying.Spot{
		Listener: r.listener, Address: r.listener.Address,
		Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
			r.settles = there && secret == request.New
			return r.asks(ctx, secret)
		},
	})
	return t.Tested, err
}

// asks asks for a token with a secret. An error is that of ctx.
func (r *rotation) asks(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
	c := *r.client
	c.application, c.material, c.secret = r.AppID, driver.Material{}, secret
	c.named = cmp.Or(r.nameOf(secret), accountName(r.AppID))
	for try := 0; ; try++ {
		a := driver.Attempt{
			Listener: r.listener, Address: r.listener.Address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: r.now().UTC(),
		}
		status, wait, answer, err := c.ask(ctx)
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		if err != nil {
			a.Answer = network.Clean(err.Error())
			return a, nil
		}
		a.IDs, a.Outcome = answer.IDs.Map(), outcomeOf(status, answer)
		a.Answer = network.Clean(fmt.Sprintf("%d %s", status, answer))
		later := status == http.StatusTooManyRequests || status >= 500
		unsettled := c.settles && slices.Contains(answer.Codes, codeWrongSecret)
		if !later && !unsettled || c.wait(ctx, wait, try) != nil {
			return a, ctx.Err()
		}
	}
}

// outcomeOf says how a secret fared. An application that is disabled is refused with each, and lets
// them in again when it is enabled.
func outcomeOf(status int, answer oauth.Answer) string {
	switch {
	case status == http.StatusOK && !answer.Token.IsZero():
		return driver.OutcomeAccepted
	case answer.Refused(status) && answer.Error == "invalid_client":
		return driver.OutcomeRefused
	}
	return driver.OutcomeFailed
}
