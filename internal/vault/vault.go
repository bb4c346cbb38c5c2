// SPDX-License-Identifier: Apache-2.0

// Package vault keeps credentials that customers have entrusted: passwords of service
// accounts, client secrets, API keys, certificates with their keys.
//
// Each value is encrypted by a data key of its customer, and that key is a secret of
// package custody, so that the wrapping key is never in the database and a rewrap moves
// a few bytes for each customer. A value leaves only to the holder that was named when it
// was entrusted, who is authenticated with it; the audit log has that before it leaves.
//
// Which version was under which wrapping key, and which host had that key, is on record:
// when a host was entered or a key was stolen, a list says what has to be replaced.
//
// A witness outside the database says how far the vault had come. A database that was
// restored from a backup shows by it, and a value that was changed since is not handed out.
package vault

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A Config says what a vault works with.
type Config struct {
	DB   *store.DB
	Gate *gate.Gate
	Now  func() time.Time
	// Custody opens what the wrapping key is in; it is called when a value is needed.
	Custody func(ctx context.Context) (*custody.Custody, error)
	// Witness is the directory where the witness is. It should be outside of what a backup brings back.
	Witness string
	// Host is what this machine is called in the lineage.
	Host string
}

// A Vault keeps what was entrusted. Its methods are safe to call from several goroutines.
type Vault struct {
	Config
	changing sync.Mutex // one change at a time; see witness

	reporting sync.Mutex
	said      string    // under reporting: which wrapping keys were reported last
	saidAt    time.Time // under reporting
}

// New returns a vault.
func New(c Config) *Vault { return &Vault{Config: c} }

// The kinds of secrets.
const (
	Password     = "password"
	ClientSecret = "client-secret"
	APIKey       = "api-key"
	Certificate  = "certificate" // with its key, in whatever form
	Other        = "other"
)

// Kinds returns the kinds.
func Kinds() []string { return []string{Password, ClientSecret, APIKey, Certificate, Other} }

// MaxValue is the size of the largest value, in bytes.
const MaxValue = custody.MaxSecret

// Bounds of what is said about a secret, in bytes.
const (
	maxWord = 300
	maxText = 2000
)

// maxAge bounds a rotation rule; one that is longer is none.
const maxAge = 10 * 365 * 24 * time.Hour

// A Name says what a secret opens: whose it is, a system, and an account or connection there.
type Name struct {
	Customer string `json:"customer"`
	System   string `json:"system"`
	Account  string `json:"account"`
	Kind     string `json:"kind"`
}

// String returns the name as the audit log has it.
func (n Name) String() string {
	return fmt.Sprintf("vault/%s/%s/%s (%s)", n.Customer, n.System, n.Account, n.Kind)
}

func (n Name) check() error {
	for _, part := range []struct{ what, text string }{{"customer", n.Customer}, {"system", n.System}, {"account", n.Account}} {
		if err := checkText(part.what, part.text, maxWord, false); err != nil {
			return err
		}
	}
	for _, kind := range Kinds() {
		if n.Kind == kind {
			return nil
		}
	}
	return fmt.Errorf("%w: there is no kind of secret %q: it is one of %s", tallystick.ErrInvalid, n.Kind, strings.Join(Kinds(), ", "))
}

// checkText is ErrInvalid for a text that is too long, or that a list could not show.
func checkText(what, text string, most int, mayLack bool) error {
	switch {
	case text == "" && mayLack:
		return nil
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("%w: the %s is missing", tallystick.ErrInvalid, what)
	case text != strings.TrimSpace(text) || len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%w: the %s is a line of at most %d bytes, with no space around it", tallystick.ErrInvalid, what, most)
	}
	return nil
}

// HolderOf returns what an actor is called as a holder: token:7, person:ada, local:root.
func HolderOf(actor gate.Actor) string {
	if id, ok := strings.CutPrefix(actor.Via, "token "); ok {
		return "token:" + id
	}
	switch actor.Via {
	case "session":
		return "person:" + actor.Name
	case "local":
		return "local:" + actor.Name
	}
	return ""
}

// checkHolder is ErrInvalid for what is not the name of a holder; nobody is one, too.
func checkHolder(holder string) error {
	if holder == "" {
		return nil
	}
	kind, name, _ := strings.Cut(holder, ":")
	if name == "" || kind != "token" && kind != "person" && kind != "local" {
		return problem.With(fmt.Errorf("%w: %q is not a holder", tallystick.ErrInvalid, holder),
			`write it as token:7 for the API token with that id ("tally token list"), person:ada for who signs in, or local:root for a user of this machine`)
	}
	return checkText("holder", holder, maxWord, false)
}

// Doubt says why a holder may be a mistake: none of that name is known, or it is no longer let in. "" is
// that nothing speaks against it. It is no error: a holder may come later.
func (v *Vault) Doubt(ctx context.Context, holder string) (string, error) {
	kind, name, _ := strings.Cut(holder, ":")
	switch kind {
	case "token":
		tokens, err := v.DB.Tokens(ctx)
		i := slices.IndexFunc(tokens, func(t store.Token) bool { return strconv.FormatInt(t.ID, 10) == name })
		switch {
		case err != nil:
			return "", err
		case i < 0:
			return "there is no API token with the id " + name, nil
		case !tokens[i].Revoked.IsZero():
			return "the API token " + name + " was revoked", nil
		case !tokens[i].Expires.After(v.Now()):
			return "the API token " + name + " has expired", nil
		}
	case "person":
		people, err := v.DB.People(ctx)
		i := slices.IndexFunc(people, func(p store.Person) bool { return p.Name == name })
		switch {
		case err != nil:
			return "", err
		case i < 0:
			return "there is nobody called " + name + " who could sign in", nil
		case !people[i].Disabled.IsZero():
			return name + " may not sign in any more", nil
		}
	case "local":
		if _, err := user.Lookup(name); err != nil {
			return "this machine has no user " + name + " of its own", nil // it may be one of a directory
		}
	}
	return "", nil
}

// open opens the custody.
func (v *Vault) open(ctx context.Context) (*custody.Custody, error) {
	one, err := v.Custody(ctx)
	if errors.Is(err, custody.ErrWrongKey) {
		return nil, err // it says which is the right one
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't open the vault: %w", err)
	}
	return one, nil
}
