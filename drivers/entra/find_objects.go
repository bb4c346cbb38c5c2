// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/parse"
)

// A directoryObject is an application or a service principal, as a look reads it.
type directoryObject struct {
	ID             string               `json:"id"`
	AppID          string               `json:"appId"`
	DisplayName    string               `json:"displayName"`
	Keys           []keyCredential      `json:"keyCredentials"`
	Passwords      []passwordCredential `json:"passwordCredentials"`
	OwnerTenant    string               `json:"appOwnerOrganizationId"`
	AccountEnabled *bool                `json:"accountEnabled"`
	DisabledByMS   *string              `json:"disabledByMicrosoftStatus"`
}

// A passwordCredential is a client secret; its first characters, which Microsoft calls the
// hint, are not read.
type passwordCredential struct {
	DisplayName   *string    `json:"displayName"`
	EndDateTime   *time.Time `json:"endDateTime"`
	KeyID         string     `json:"keyId"`
	StartDateTime *time.Time `json:"startDateTime"`
}

// A federatedCredential lets in whoever has a token of another issuer.
type federatedCredential struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// Tenants of Microsoft, to which its own applications belong ("Verify first-party Microsoft
// applications in sign-in reports").
const (
	microsoftServices  = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"
	microsoftCorporate = "72f988bf-86f1-41af-91ab-2d7cd011db47"
)

func (o *directoryObject) firstParty() bool {
	return o.OwnerTenant == microsoftServices || o.OwnerTenant == microsoftCorporate
}

func (o *directoryObject) disabled() bool {
	return o.AccountEnabled != nil && !*o.AccountEnabled ||
		o.DisabledByMS != nil && *o.DisabledByMS != "" && *o.DisabledByMS != "NotDisabled"
}

// objects calls each with every object of a kind. One that cannot be read is a miss. A page is
// read to its end before its objects are looked at, which takes long: a link to the next one may
// have ended by then, and the list is begun anew, as long as that leads further than before.
func (l *survey) objects(ctx context.Context, kind, fields string, each func(context.Context, tallystick.Place, *directoryObject) error) error {
	first := l.url("/v1.0/"+kind, url.Values{"$select": {fields}, "$top": {"100"}}).String()
	done, before := map[string]bool{}, -1
	for link, pages := first, 0; link != "" && pages < maxPages; pages++ {
		var objects []directoryObject
		p, err := l.page(ctx, link, func(element json.RawMessage) error {
			o, err := readObject(element)
			if err != nil {
				return l.missed(ctx, tallystick.EntraPlace(l.tenant, kind, ""), err)
			}
			objects = append(objects, o)
			return nil
		})
		if said, ok := errors.AsType[*apiError](err); ok && said.Code == expiredPage && len(done) > before {
			link, before = first, len(done)
			continue
		}
		if err == nil && p.Next == link {
			err = fmt.Errorf("%w: a page of %s leads to itself", tallystick.ErrUnavailable, l.base.Host)
		}
		if err != nil {
			return err
		}
		for i := range objects {
			if o := &objects[i]; !done[o.ID] {
				done[o.ID] = true
				if err := each(ctx, tallystick.EntraPlace(l.tenant, kind, o.ID), o); err != nil {
					return err
				}
			}
		}
		link = p.Next
	}
	return nil
}

// expiredPage is the code of a link to a page that has ended.
const expiredPage = "Directory_ExpiredPageToken"

func readObject(element json.RawMessage) (directoryObject, error) {
	var o directoryObject
	if err := json.Unmarshal(element, &o); err != nil {
		return o, fmt.Errorf("%w: an object that is not as documented", tallystick.ErrInvalid)
	}
	if _, err := guid(o.ID); err != nil {
		return o, fmt.Errorf("%w: an object without an id", tallystick.ErrInvalid)
	}
	o.DisplayName = network.Clean(o.DisplayName)
	return o, nil
}

// applications looks at the applications that are registered in the tenant.
func (l *survey) applications(ctx context.Context) error {
	const fields = "id,appId,displayName,keyCredentials,passwordCredentials,disabledByMicrosoftStatus"
	return l.objects(ctx, "applications", fields, func(ctx context.Context, place tallystick.Place, o *directoryObject) error {
		return l.credentials(ctx, "applications", place, o, tallystick.EntraFacts{Application: o.AppID, Name: o.DisplayName, Disabled: o.disabled()})
	})
}

// principals looks at the service principals: what signs in at the tenant.
func (l *survey) principals(ctx context.Context) error {
	const fields = "id,appId,displayName,keyCredentials,passwordCredentials,appOwnerOrganizationId,accountEnabled,disabledByMicrosoftStatus"
	return l.objects(ctx, "servicePrincipals", fields, func(ctx context.Context, place tallystick.Place, o *directoryObject) error {
		facts := tallystick.EntraFacts{Application: o.AppID, Name: o.DisplayName, FirstParty: o.firstParty(), Disabled: o.disabled()}
		if o.OwnerTenant != "" && o.OwnerTenant != l.tenant {
			facts.Home = o.OwnerTenant
		}
		if facts.FirstParty && len(o.Keys)+len(o.Passwords) == 0 {
			return nil // there are hundreds, and all tenants have them
		}
		var err error
		if facts.Grants, err = l.grants(ctx, place, o.ID); err != nil {
			return err
		}
		l.ews.judge(o.AppID, facts.Grants)
		// Uses of it are recorded under this name where no log tells the key.
		if err := l.saw(place, named("account:entra-app/"+o.AppID, o.DisplayName, nil, nil), with(facts, formElsewhere, "")); err != nil {
			return err
		}
		if err := l.foreignKeys(place, o, facts); err != nil {
			return err
		}
		return l.credentials(ctx, "servicePrincipals", place, o, facts)
	})
}

// Forms of a credential, as EntraFacts has them.
const (
	formCertificate = "certificate"
	formKey         = "key"
	formSecret      = "secret"
	formFederated   = "federated"
	formElsewhere   = "elsewhere"
)

// with completes the facts for one credential.
func with(facts tallystick.EntraFacts, form, keyID string) *tallystick.EntraFacts {
	facts.Form, facts.KeyID = form, keyID
	return &facts
}

// credentials reports what signs in as an object.
func (l *survey) credentials(ctx context.Context, kind string, place tallystick.Place, o *directoryObject, facts tallystick.EntraFacts) error {
	federated, err := l.federated(ctx, kind, place, o)
	if err != nil || len(o.Keys)+len(o.Passwords)+len(federated) == 0 {
		return err
	}
	if facts.Owners, err = l.owners(ctx, kind, place, o); err != nil {
		return err
	}
	if err := l.keys(ctx, kind, place, o, facts); err != nil {
		return err
	}
	for _, p := range o.Passwords {
		if _, err := guid(p.KeyID); err != nil {
			continue
		}
		if err := l.saw(place, named("entra-key:"+p.KeyID, label(p.DisplayName), p.StartDateTime, p.EndDateTime), with(facts, formSecret, p.KeyID)); err != nil {
			return err
		}
	}
	for _, f := range federated {
		told := with(facts, formFederated, f.ID)
		told.Issuer, told.Subject, told.Audiences = network.Clean(f.Issuer), network.Clean(f.Subject), f.Audiences
		if err := l.saw(place, named("entra-federated:"+f.ID, network.Clean(f.Name), nil, nil), told); err != nil {
			return err
		}
	}
	return nil
}

// keys reports the keys. Lists do not have the certificates, so the object is asked for once more.
func (l *survey) keys(ctx context.Context, kind string, place tallystick.Place, o *directoryObject, facts tallystick.EntraFacts) error {
	if len(o.Keys) == 0 {
		return nil
	}
	var whole directoryObject
	err := l.get(ctx, "/v1.0/"+kind+"/"+o.ID, url.Values{"$select": {"keyCredentials"}}, &whole)
	if err != nil {
		if err := l.missed(ctx, place, err); err != nil {
			return err
		}
		whole.Keys = o.Keys // by their ids, then
	}
	done := map[string]bool{}
	for _, k := range whole.Keys {
		if _, err := guid(k.KeyID); err != nil {
			continue
		}
		form, credential := formCertificate, tallystick.Credential{}
		if der := k.der(); der != nil {
			credential, err = parse.Certificate(der)
		}
		if k.der() == nil || err != nil {
			form, credential = formKey, named("entra-key:"+k.KeyID, label(k.DisplayName), k.StartDateTime, k.EndDateTime)
		}
		if done[string(credential.ID)] {
			continue // one certificate as a key for signing and for checking
		}
		done[string(credential.ID)] = true
		if err := l.saw(place, credential, with(facts, form, k.KeyID)); err != nil {
			return err
		}
	}
	return nil
}

// label is the display name of a credential.
func label(name *string) string {
	if name == nil {
		return ""
	}
	return network.Clean(*name)
}

// named is a credential that the directory tells but a name of.
func named(name, subject string, from, to *time.Time) tallystick.Credential {
	name = tallystick.NormalName(name)
	c := tallystick.Credential{ID: tallystick.FingerprintOf([]byte(name)), Kind: tallystick.KindNamed, Subject: subject, Raw: []byte(name)}
	if from != nil {
		c.NotBefore = *from
	}
	if to != nil {
		c.NotAfter = *to
	}
	return c
}

// federated reads the federated credentials of an object.
func (l *survey) federated(ctx context.Context, kind string, place tallystick.Place, o *directoryObject) ([]federatedCredential, error) {
	var list []federatedCredential
	err := l.list(ctx, "/v1.0/"+kind+"/"+o.ID+"/federatedIdentityCredentials", nil, func(element json.RawMessage) error {
		var f federatedCredential
		if err := json.Unmarshal(element, &f); err != nil {
			return fmt.Errorf("%w: a federated credential that is not as documented", tallystick.ErrInvalid)
		}
		if _, err := guid(f.ID); err == nil {
			list = append(list, f)
		}
		return nil
	})
	if err != nil {
		return nil, l.missed(ctx, place+"/federatedIdentityCredentials", err)
	}
	return list, nil
}

// owners reads who may add credentials to an object.
func (l *survey) owners(ctx context.Context, kind string, place tallystick.Place, o *directoryObject) ([]string, error) {
	var list []string
	err := l.list(ctx, "/v1.0/"+kind+"/"+o.ID+"/owners", url.Values{"$select": {"id,displayName,userPrincipalName"}}, func(element json.RawMessage) error {
		var who struct {
			ID   string `json:"id"`
			Name string `json:"displayName"`
			User string `json:"userPrincipalName"`
		}
		if err := json.Unmarshal(element, &who); err != nil {
			return fmt.Errorf("%w: an owner that is not as documented", tallystick.ErrInvalid)
		}
		list = append(list, network.Clean(cmp.Or(who.User, who.Name, who.ID)))
		return nil
	})
	if err != nil {
		return nil, l.missed(ctx, place+"/owners", err)
	}
	slices.Sort(list)
	return list, nil
}
