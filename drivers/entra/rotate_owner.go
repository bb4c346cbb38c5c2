// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// A clientSecret is a secret with what Microsoft shows of its value.
type clientSecret struct {
	passwordCredential
	Hint string `json:"hint"` // the first three characters; null, so "", of many old ones
}

// fits says whether a value begins as the secret does.
func (s clientSecret) fits(value driver.Secret) bool {
	return s.Hint != "" && strings.HasPrefix(value.Reveal(), s.Hint)
}

// ended says whether the secret lets nobody in any more.
func (s clientSecret) ended(now time.Time) bool {
	return s.EndDateTime != nil && !now.Before(*s.EndDateTime)
}

// A rotation is what is asked about the secrets of one application, with those that there are.
type rotation struct {
	*client
	driver.SecretRequest
	kind     string        // where the secrets are kept, as in places: "applications"
	path     string        // of that object
	life     time.Duration // of secrets that are made; 0 is Microsoft's default
	listener driver.Listener
	secretOwner
}

// A secretOwner is an application or a service principal with its client secrets.
type secretOwner struct {
	ID      string         `json:"id"`
	AppID   string         `json:"appId"`
	Name    string         `json:"displayName"`
	Secrets []clientSecret `json:"passwordCredentials"`
}

// rotation finds the account, by its client id or its object id.
func (e *Entra) rotation(ctx context.Context, request driver.SecretRequest) (*rotation, error) {
	if e.Tenant == "" {
		return nil, invalid("client secrets are those of one tenant: set the option tenant")
	}
	account, err := guid(strings.TrimSpace(request.Account))
	if err != nil {
		return nil, fmt.Errorf("an account is an application, by its client id or object id: %w", err)
	}
	c, err := e.client(ctx, request.Host, e.Tenant, request.Now)
	if err != nil {
		return nil, err
	}
	c.used = request.Used
	r := &rotation{client: c, SecretRequest: request, life: e.SecretLife, kind: e.kind()}
	r.path = "/v1.0/" + r.kind + "(appId='" + account + "')"
	if err = r.read(ctx); errors.Is(err, tallystick.ErrNotFound) {
		r.path = "/v1.0/" + r.kind + "/" + account
		err = r.read(ctx)
	}
	if err != nil {
		return nil, err
	}
	r.path = "/v1.0/" + r.kind + "/" + r.ID
	r.listener, err = e.listener(ctx, request.Host, r.AppID)
	return r, err
}

// read reads the secrets that there are.
func (r *rotation) read(ctx context.Context) error {
	var o secretOwner
	if err := r.get(ctx, r.path, url.Values{"$select": {"id,appId,displayName,passwordCredentials"}}, &o); err != nil {
		return fmt.Errorf("couldn't read the client secrets of %s of the tenant %s: %w", strings.TrimPrefix(r.path, "/v1.0/"), r.tenant, err)
	}
	_, noID := guid(o.ID)
	_, noAppID := guid(o.AppID)
	if noID != nil || noAppID != nil {
		return fmt.Errorf("%w: an answer without the ids of the application", tallystick.ErrUnavailable)
	}
	r.secretOwner = o
	return nil
}

func (r *rotation) label() string {
	return strings.TrimSpace(network.Clean(r.Name) + " (" + r.AppID + ")")
}

func (r *rotation) place() string { return string(tallystick.EntraPlace(r.tenant, r.kind, r.ID)) }

// made returns the secrets that the order has made; with fitting those of them that may be New.
func (r *rotation) made(fitting bool) []clientSecret {
	return r.those(func(s clientSecret) bool { return r.ours(s) && (!fitting || s.fits(r.New)) })
}

// like returns the secrets of others that begin as a value does.
func (r *rotation) like(value driver.Secret) []clientSecret {
	return r.those(func(s clientSecret) bool { return !r.ours(s) && s.fits(value) })
}

// hidden returns those of others of which nobody is shown how they begin.
func (r *rotation) hidden() []clientSecret {
	return r.those(func(s clientSecret) bool { return !r.ours(s) && s.Hint == "" && !s.ended(r.now()) })
}

func (r *rotation) ours(s clientSecret) bool {
	return r.Order != "" && s.DisplayName != nil && *s.DisplayName == orderMark+r.Order
}

func (o *secretOwner) those(which func(clientSecret) bool) []clientSecret {
	var list []clientSecret
	for _, s := range o.Secrets {
		if which(s) {
			list = append(list, s)
		}
	}
	return list
}

// nameOf names a secret as sign-in logs do, "" where it cannot be told which it is.
func (o *secretOwner) nameOf(secret driver.Secret) string {
	fitting := o.those(func(s clientSecret) bool { return s.fits(secret) })
	if len(fitting) != 1 {
		return ""
	}
	id, err := guid(fitting[0].KeyID)
	if err != nil {
		return ""
	}
	return tallystick.NormalName("entra-key:" + id)
}

// changed returns when the newest secret was made.
func (r *rotation) changed() time.Time {
	var newest time.Time
	for _, s := range r.Secrets {
		if s.StartDateTime != nil && s.StartDateTime.After(newest) {
			newest = s.StartDateTime.UTC()
		}
	}
	return newest
}

func (r *rotation) notes() []string {
	notes := []string{fmt.Sprintf("has %d client secrets; all but the old one stay", len(r.Secrets))}
	var last time.Time
	for _, s := range r.Secrets {
		if s.EndDateTime != nil && s.EndDateTime.After(last) {
			last = s.EndDateTime.UTC()
		}
	}
	if !last.IsZero() {
		notes = append(notes, "the last of them ends on "+last.Format(time.DateOnly))
	}
	return notes
}

// barred says why the application cannot sign in in the tenant.
func (r *rotation) barred(ctx context.Context) (string, error) {
	var p directoryObject
	err := r.get(ctx, "/v1.0/servicePrincipals(appId='"+r.AppID+"')", url.Values{"$select": {"id,appId,accountEnabled,disabledByMicrosoftStatus"}}, &p)
	switch {
	case errors.Is(err, tallystick.ErrNotFound):
		return "it has no service principal in the tenant, so that it signs in nowhere there", nil
	case err != nil:
		return "", fmt.Errorf("couldn't read whether %s is disabled: %w", r.label(), err)
	case p.AccountEnabled != nil && !*p.AccountEnabled:
		return "disabled", nil
	case p.DisabledByMS != nil && cmp.Or(*p.DisabledByMS, "NotDisabled") != "NotDisabled":
		return "disabled by Microsoft: " + network.Clean(*p.DisabledByMS), nil
	}
	return "", nil
}
