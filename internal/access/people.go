// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Person is somebody who may sign in.
type Person struct {
	Name      string    `json:"name"`
	Role      gate.Role `json:"role"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	SignedIn  time.Time `json:"signed_in,omitzero"` // the last time
	Disabled  time.Time `json:"disabled,omitzero"`  // since when
}

// KeepRole is, for CreateLink, no role to give but the one that somebody has; to
// somebody new it gives Viewer.
const KeepRole gate.Role = -1

// firstPerson is whom FirstLink lets in.
const firstPerson = "admin"

// FirstLink returns a sign-in link for the person "admin" while there is nobody
// else and they have never signed in, and "" otherwise: what a start of the
// server writes may be read by more people than may come in, so it never lets
// anybody in again. Each call makes a new link and the one before it useless.
func (c *Control) FirstLink(ctx context.Context) (string, error) {
	people, err := c.db.People(ctx)
	if err != nil {
		return "", err
	}
	first := store.Person{Name: firstPerson, Role: gate.Admin.String()}
	for _, p := range people {
		if p.Name != first.Name || p.Role != first.Role || !p.SignedIn.IsZero() || !p.Disabled.IsZero() {
			return "", nil
		}
	}
	return c.CreateLink(ctx, gate.Local(gate.FirstStart), firstPerson, gate.Admin)
}

// CreateLink returns the secret of a link with which a person can sign in once
// within LinkLife; it takes the place of a link that they had before. A person
// who is new is made; one who is not has the role from now on, in running
// sessions too, and is no longer disabled. The role KeepRole leaves somebody
// known with the one that they have. To take the last administrator from their
// role is ErrInvalid.
//
// The secret belongs into the fragment or the form of a page that is sent with
// POST to be redeemed: programs that preview links only GET them.
func (c *Control) CreateLink(ctx context.Context, by gate.Actor, name string, role gate.Role) (string, error) {
	object := fmt.Sprintf("link for %s as %s", name, role)
	keep := role == KeepRole
	if keep {
		object, role = fmt.Sprintf("link for %s as they are, or %s", name, gate.Viewer), gate.Viewer
	}
	if err := c.gate.Check(ctx, by, gate.ManageAccess, object); err != nil {
		return "", err
	}
	if err := errors.Join(checkName(name), checkRole(role, gate.Viewer)); err != nil {
		return "", err
	}
	secret, hash := newSecret("")
	now := c.now()
	err := c.db.AddLink(ctx, store.NewLink{
		Hash: hash, Expires: now.Add(LinkLife), KeepRole: keep, Last: gate.Admin.String(),
		Person: store.Person{Name: name, Role: role.String(), Created: now, CreatedBy: by.Name},
	})
	if err != nil {
		return "", explainLast(err)
	}
	return secret, nil
}

// explainLast says what to do when the last administrator would be lost.
func explainLast(err error) error {
	if !errors.Is(err, store.ErrLast) {
		return err
	}
	return problem.With(err, "They are the last administrator. Make somebody else one first: tally user link NAME --role admin.")
}

// Redeem trades a link for a session and uses it up. A link that is not good,
// or is no longer, is ErrUnsigned. from is where the attempt comes from, for
// the record.
func (c *Control) Redeem(ctx context.Context, link, from string) (session string, who gate.Actor, err error) {
	const reason = "the sign-in link is unknown, used or too old"
	stranger := gate.Actor{Via: "link"}
	if !isSecret("", link) {
		return "", gate.Actor{}, c.refuse(ctx, stranger, from, reason, nil)
	}
	now := c.now()
	person, err := c.db.LinkPerson(ctx, hashOf(link), now)
	if err != nil {
		return "", gate.Actor{}, c.refuse(ctx, stranger, from, reason, err)
	}
	who, err = actorOf(person, "link")
	if err != nil {
		return "", gate.Actor{}, err
	}
	if err := c.gate.Check(ctx, who, gate.SignIn, "from "+from); err != nil {
		return "", gate.Actor{}, err
	}
	session, hash := newSecret("")
	if err := c.db.RedeemLink(ctx, hashOf(link), hash, now, now.Add(SessionLife)); err != nil {
		return "", gate.Actor{}, c.refuse(ctx, who, from, reason, err)
	}
	who.Via = "session"
	return session, who, nil
}

// Session returns who a session belongs to, with the role that they have now.
// One that is not good, or is no longer, is ErrUnsigned. That is not recorded:
// a browser sends the cookie of an old session again and again.
func (c *Control) Session(ctx context.Context, secret string) (gate.Actor, error) {
	if !isSecret("", secret) {
		return gate.Actor{}, tallystick.ErrUnsigned
	}
	person, err := c.db.SessionPerson(ctx, hashOf(secret), c.now())
	if errors.Is(err, tallystick.ErrNotFound) {
		return gate.Actor{}, fmt.Errorf("%w: the session has ended", tallystick.ErrUnsigned)
	}
	if err != nil {
		return gate.Actor{}, err
	}
	return actorOf(person, "session")
}

// SignOut ends a session. It does so even when that cannot be recorded, because
// a session that somebody wants to end is better ended; the error says so then.
func (c *Control) SignOut(ctx context.Context, secret string) error {
	who, err := c.Session(ctx, secret)
	if errors.Is(err, tallystick.ErrUnsigned) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(c.gate.Check(ctx, who, gate.SignOut, ""), c.db.EndSession(ctx, hashOf(secret)))
}

// ListPeople returns everybody, by name.
func (c *Control) ListPeople(ctx context.Context, by gate.Actor) ([]Person, error) {
	if err := c.gate.Check(ctx, by, gate.ReadAccess, "people"); err != nil {
		return nil, err
	}
	rows, err := c.db.People(ctx)
	if err != nil {
		return nil, err
	}
	people := make([]Person, len(rows))
	for i, p := range rows {
		role, err := gate.ParseRole(p.Role)
		if err != nil {
			return nil, err
		}
		people[i] = Person{p.Name, role, p.Created, p.CreatedBy, p.SignedIn, p.Disabled}
	}
	return people, nil
}

// Disable ends a person's sessions and links and keeps them out until somebody
// makes a new link for them. API tokens that they made stay: programs of others
// may depend on them, and ListTokens says who made which. The last administrator
// cannot be disabled: that is ErrInvalid.
func (c *Control) Disable(ctx context.Context, by gate.Actor, name string) error {
	if err := c.gate.Check(ctx, by, gate.ManageAccess, "disable "+name); err != nil {
		return err
	}
	if err := checkName(name); err != nil {
		return err
	}
	return explainLast(c.db.DisablePerson(ctx, name, gate.Admin.String(), c.now()))
}

func actorOf(p store.Person, via string) (gate.Actor, error) {
	role, err := gate.ParseRole(p.Role)
	return gate.Actor{Name: p.Name, Role: role, Via: via}, err
}
