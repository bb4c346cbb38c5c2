// SPDX-License-Identifier: Apache-2.0

package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// tokenPrefix lets people and secret scanners tell what they are looking at.
const tokenPrefix = "tally_"

// touchEvery is how exact the last use of a token is kept.
const touchEvery = time.Minute

// A Token is what is known about an API token; its secret is not.
type Token struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Role      gate.Role `json:"role"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires"`
	LastUsed  time.Time `json:"last_used,omitzero"` // to the minute
	Revoked   time.Time `json:"revoked,omitzero"`   // since when
}

// CreateToken returns the secret of a new API token, which cannot be had again.
// life is at least a minute and at most MaxTokenLife.
func (c *Control) CreateToken(ctx context.Context, by gate.Actor, name string, role gate.Role, life time.Duration) (string, Token, error) {
	if err := c.gate.Check(ctx, by, gate.ManageAccess, fmt.Sprintf("token %s as %s", name, role)); err != nil {
		return "", Token{}, err
	}
	if err := errors.Join(checkName(name), checkRole(role, gate.Client)); err != nil {
		return "", Token{}, err
	}
	if life < time.Minute || life > MaxTokenLife {
		return "", Token{}, problem.With(fmt.Errorf("%w: a token cannot be good for %s", tallystick.ErrInvalid, life),
			"Choose a time from one minute to one year.")
	}
	secret, hash := newSecret(tokenPrefix)
	now := c.now().UTC().Truncate(time.Microsecond) // as it is kept
	row, err := c.db.AddToken(ctx, hash, store.Token{
		Name: name, Role: role.String(), Created: now, CreatedBy: cmp.Or(by.MadeBy, by.Name), Expires: now.Add(life),
	})
	if err != nil {
		return "", Token{}, err
	}
	token, err := tokenOf(row)
	return secret, token, err
}

// Token returns who a token stands for. One that is not good, or is no longer,
// is ErrUnsigned and recorded; that a good one came in is not, for its volume:
// what it then does is. from is where the attempt comes from, for the record.
func (c *Control) Token(ctx context.Context, secret, from string) (gate.Actor, error) {
	stranger := gate.Actor{Via: "token"}
	if !isSecret(tokenPrefix, secret) {
		return gate.Actor{}, c.refuse(ctx, stranger, from, "that is not an API token", nil)
	}
	row, err := c.db.TokenOf(ctx, hashOf(secret))
	if err != nil {
		return gate.Actor{}, c.refuse(ctx, stranger, from, "the API token is unknown", err)
	}
	token, err := tokenOf(row)
	if err != nil {
		return gate.Actor{}, err
	}
	who := gate.Actor{Name: token.Name, Role: token.Role, Via: fmt.Sprintf("token %d", token.ID), MadeBy: token.CreatedBy}
	now := c.now()
	switch {
	case !token.Revoked.IsZero():
		return gate.Actor{}, c.refuse(ctx, who, from, "the API token was revoked", nil)
	case !now.Before(token.Expires):
		return gate.Actor{}, c.refuse(ctx, who, from, "the API token has expired", nil)
	}
	if now.Sub(token.LastUsed) >= touchEvery {
		if err := c.db.TouchToken(ctx, token.ID, now); err != nil {
			return gate.Actor{}, err
		}
	}
	return who, nil
}

// RevokeToken makes a token useless, at once and for good.
func (c *Control) RevokeToken(ctx context.Context, by gate.Actor, id int64) error {
	if err := c.gate.Check(ctx, by, gate.ManageAccess, fmt.Sprintf("revoke token %d", id)); err != nil {
		return err
	}
	return c.db.RevokeToken(ctx, id, c.now())
}

// ListTokens returns all tokens, the oldest first, also those that are no longer good.
func (c *Control) ListTokens(ctx context.Context, by gate.Actor) ([]Token, error) {
	if err := c.gate.Check(ctx, by, gate.ReadAccess, "tokens"); err != nil {
		return nil, err
	}
	rows, err := c.db.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	tokens := make([]Token, len(rows))
	for i, row := range rows {
		if tokens[i], err = tokenOf(row); err != nil {
			return nil, err
		}
	}
	return tokens, nil
}

func tokenOf(t store.Token) (Token, error) {
	role, err := gate.ParseRole(t.Role)
	return Token{t.ID, t.Name, role, t.Created, t.CreatedBy, t.Expires, t.LastUsed, t.Revoked}, err
}
