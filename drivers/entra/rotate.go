// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Client secrets of applications ("application: addPassword", "application: removePassword").
// Microsoft makes each, tells it once, and from then on shows no more of it than its first three
// characters. Which of them is New is told by the order, which stands in its name; which is
// Old, by those characters, and by whether Old gets in.

// The words of Changed.How.
const (
	howAdd    = "add-password"
	howRemove = "remove-password"
)

// orderMark begins the names of secrets that a rotation has made; the order follows it.
const orderMark = "Tallystick "

// maxMade bounds a secret that is made, in bytes; the documents say 16 to 64 characters.
const maxMade = 1 << 10

// LookAccount says how an application stands, by its client id or its object id.
func (e *Entra) LookAccount(ctx context.Context, request driver.AccountRequest) (driver.Account, error) {
	r, err := e.rotation(ctx, driver.SecretRequest{Host: request.Host, Account: request.Account, Now: request.Now, Used: request.Used})
	if err != nil {
		return driver.Account{}, err
	}
	barred, err := r.barred(ctx)
	if err != nil {
		return driver.Account{}, err
	}
	return driver.Account{
		Name: r.label(), Overlap: driver.OverlapTwo, Form: driver.FormMade, MayTry: -1, Barred: barred, Changed: r.changed(),
		Listeners: []driver.Listener{r.listener}, Notes: r.notes(),
	}, nil
}

// SetSecret has Microsoft make a secret beside the others. One of the same order whose value was
// lost on its way is taken away, and another one made.
func (e *Entra) SetSecret(ctx context.Context, request driver.SecretRequest) (driver.SecretSet, error) {
	r, err := e.rotation(ctx, request)
	if err != nil {
		return driver.SecretSet{}, err
	}
	if request.Withdraw {
		return r.withdraw(ctx)
	}
	if !request.New.IsZero() {
		there := len(r.made(true)) > 0
		if !there {
			said, err := r.asks(ctx, request.New)
			if err != nil {
				return driver.SecretSet{}, err
			}
			there = said.Outcome == driver.OutcomeAccepted
		}
		if there {
			return driver.SecretSet{Made: request.New}, nil
		}
	}
	if err := r.remove(ctx, r.made(false)); err != nil {
		return driver.SecretSet{}, err
	}
	made, id, err := r.add(ctx)
	if err != nil {
		return driver.SecretSet{}, err
	}
	return driver.SecretSet{Made: made, Changed: driver.Changed{Changed: true, How: []string{howAdd}, Detail: "added the client secret " + id + " to " + r.place()}}, nil
}

// withdraw takes away what the order has made, where that leaves one like Old.
func (r *rotation) withdraw(ctx context.Context) (driver.SecretSet, error) {
	mine := r.made(false)
	if len(mine) == 0 {
		return driver.SecretSet{}, nil
	}
	there := len(r.like(r.Old)) > 0
	if !there && len(r.hidden()) > 0 {
		said, err := r.asks(ctx, r.Old)
		if err != nil {
			return driver.SecretSet{}, err
		}
		there = said.Outcome == driver.OutcomeAccepted
	}
	if !there {
		return driver.SecretSet{}, fmt.Errorf("%w: the old client secret of %s is not there any more, and Microsoft takes none that it has not made: the new one stays",
			tallystick.ErrInvalid, r.label())
	}
	changed, err := r.taken(ctx, mine)
	return driver.SecretSet{Changed: changed}, err
}

// DropSecret takes the old secret away, and what lost answers of the order have left.
func (e *Entra) DropSecret(ctx context.Context, request driver.SecretRequest) (driver.Blocked, error) {
	if request.Old.Reveal() == request.New.Reveal() {
		return driver.Blocked{}, invalid("the old client secret is the new one: set another first")
	}
	r, err := e.rotation(ctx, request)
	if err != nil {
		return driver.Blocked{}, err
	}
	if len(r.made(true)) == 0 { // a look may be older than what it looks for
		r.settles = true
		said, err := r.asks(ctx, request.New)
		if err != nil {
			return driver.Blocked{}, err
		}
		if r.settles = false; said.Outcome != driver.OutcomeAccepted {
			return driver.Blocked{}, fmt.Errorf("%w: the new client secret of %s does not get in (%s), so that the old one stays: set it first", tallystick.ErrConflict, r.label(), said.Answer)
		}
	}
	old, err := r.old(ctx)
	if err != nil {
		return driver.Blocked{}, err
	}
	strays := slices.DeleteFunc(r.made(false), func(s clientSecret) bool { return s.fits(request.New) })
	changed, err := r.taken(ctx, append(old, strays...))
	return driver.Blocked{Changed: changed, Left: []string{tokensLeft}}, err
}

// old returns the secret that is Old, or none where it is gone. What only looks like it is not
// touched: whoever uses that would be shut out, and nothing brings it back.
func (r *rotation) old(ctx context.Context) ([]clientSecret, error) {
	like, hidden := r.like(r.Old), r.hidden()
	if len(like)+len(hidden) == 0 {
		return nil, nil
	}
	said, err := r.asks(ctx, r.Old)
	if err != nil || said.Outcome == driver.OutcomeRefused {
		return nil, err
	}
	if said.Outcome == driver.OutcomeAccepted { // so that it is none that has ended
		like = slices.DeleteFunc(like, func(s clientSecret) bool { return s.ended(r.now()) })
	}
	const byHand = "have an administrator remove it under App registrations, Certificates & secrets"
	switch {
	case len(like) == 1:
		return like, nil
	case said.Outcome != driver.OutcomeAccepted:
		return nil, fmt.Errorf("%w: couldn't find out whether the old client secret of %s gets in: %s", tallystick.ErrUnavailable, r.label(), said.Answer)
	case len(like) == 0:
		return nil, fmt.Errorf("%w: the old client secret of %s gets in, and Microsoft does not show how %d of its secrets begin, so that it cannot be told from them: %s",
			tallystick.ErrConflict, r.label(), len(hidden), byHand)
	}
	return nil, fmt.Errorf("%w: %d client secrets of %s begin as the old one does, so that it cannot be told from them (%s): %s", tallystick.ErrConflict, len(like), r.label(), ids(like), byHand)
}

// add makes a secret, and returns it and its id.
func (r *rotation) add(ctx context.Context) (driver.Secret, string, error) {
	if r.Order == "" {
		return driver.Secret{}, "", invalid("a client secret is made for an order, and this one has no name")
	}
	body := map[string]any{"displayName": orderMark + r.Order}
	if r.life > 0 {
		body["endDateTime"] = r.now().Add(r.life).UTC().Truncate(time.Second)
	}
	var made struct {
		KeyID string `json:"keyId"`
		Text  string `json:"secretText"`
	}
	err := r.send(ctx, http.MethodPost, r.path+"/addPassword", map[string]any{"passwordCredential": body}, &made)
	if err != nil {
		return driver.Secret{}, "", r.policy(r.forbidden(fmt.Errorf("couldn't add a client secret to %s: %w", r.label(), err), "Application.ReadWrite.OwnedBy"))
	}
	id, err := guid(made.KeyID)
	if err != nil || made.Text == "" || len(made.Text) > maxMade || strings.ContainsFunc(made.Text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return driver.Secret{}, "", fmt.Errorf("%w: Microsoft's answer has no client secret that could be used", tallystick.ErrUnavailable)
	}
	return driver.NewSecret(made.Text), id, nil
}

// policy says what to do where the tenant restricts client secrets ("appManagementPolicy resource type").
func (r *rotation) policy(err error) error {
	said, _ := errors.AsType[*apiError](err)
	switch {
	case said == nil:
		return err
	case said.Code == "CredentialInvalidLifetimeAsPerAppPolicy":
		return fmt.Errorf("%w: set the option secret-life to what the policy of the tenant allows, such as 2160h", err)
	case said.Code == "CredentialTypeNotAllowedAsPerAppPolicy":
		return fmt.Errorf("%w: the policy of the tenant allows this application no new client secrets; let it sign in by a certificate", err)
	}
	return err
}

// taken takes secrets away, and says so.
func (r *rotation) taken(ctx context.Context, secrets []clientSecret) (driver.Changed, error) {
	if len(secrets) == 0 {
		return driver.Changed{}, nil
	}
	if err := r.remove(ctx, secrets); err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{howRemove}, Detail: "removed from " + r.place() + " the client secret " + ids(secrets)}, nil
}

// remove takes secrets away until none of them shows: what was added a moment ago may not be found
// yet, and be there all the same.
func (r *rotation) remove(ctx context.Context, secrets []clientSecret) error {
	for pause := firstLook; len(secrets) > 0; pause = min(2*pause, mostLook) {
		for _, s := range secrets {
			err := r.send(ctx, http.MethodPost, r.path+"/removePassword", map[string]any{"keyId": s.KeyID}, nil)
			if err != nil && !notThere(err) {
				return r.forbidden(fmt.Errorf("couldn't remove the client secret %s of %s: %w", network.Clean(s.KeyID), r.label(), err), "Application.ReadWrite.OwnedBy")
			}
		}
		if err := r.read(ctx); err != nil {
			return err
		}
		secrets = slices.DeleteFunc(secrets, func(s clientSecret) bool {
			return !slices.ContainsFunc(r.Secrets, func(there clientSecret) bool { return there.KeyID == s.KeyID })
		})
		if len(secrets) == 0 {
			break
		}
		if err := r.wait(ctx, pause, 0); err != nil {
			return fmt.Errorf("client secrets of %s show that were removed: %w", r.label(), err)
		}
	}
	return nil
}

// notThere says whether a secret was not found that was to be removed. No document has the words; the
// code is that of every bad request.
func notThere(err error) bool {
	said, ok := errors.AsType[*apiError](err)
	return ok && (said.Status == http.StatusNotFound || said.Status == http.StatusBadRequest && strings.HasPrefix(said.Message, "No password credential found"))
}

// ids names secrets by their ids.
func ids(secrets []clientSecret) string {
	var list []string
	for _, s := range secrets {
		list = append(list, network.Clean(s.KeyID))
	}
	return strings.Join(list, ", ")
}
