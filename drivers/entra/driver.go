// SPDX-License-Identifier: Apache-2.0

// Package entra is the driver of Microsoft Entra ID, the directory of Microsoft 365. In one
// tenant or in thousands it finds the credentials of applications and what they open (find.go),
// watches the logs of who signs in, what is changed and which mail is read (watch.go), and is a
// door: it lets a certificate sign in or keeps it out (look.go, trust.go, block.go), and replaces
// client secrets (rotate.go).
//
// It is written to these pages of learn.microsoft.com, which are named where they decide
// something: "keyCredential resource type", "application: addKey", "application: removeKey",
// "application: addPassword", "application: removePassword", "passwordCredential resource type",
// "Generate proof of possession tokens for rolling keys", "Update application", "Microsoft
// Graph throttling guidance", "Paging Microsoft Graph data", "Microsoft Graph error responses
// and resource types", "Microsoft identity platform and the OAuth 2.0 client credentials
// flow", "Microsoft identity platform application authentication certificate credentials",
// "Access tokens in the Microsoft identity platform", "appRoleAssignment resource type",
// "Microsoft Graph permissions reference", "List signIns", "List directoryAudits", "Office 365
// Management Activity API reference" and "auditLogQuery resource type".
//
// Real tenants cannot be had for tests: these run against an emulator that was written to the
// same pages.
//
// Thousands of doors of one process share connections, for each host one, the access tokens
// that they were given, until those end, and the credentials that they last read from files:
// that, in memory, is all that this driver keeps between calls. Where Microsoft says "later" it
// waits, for a bounded time; a watch comes back instead.
package entra

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Options are what can be set.
type Options struct {
	Tenant      string        `option:"tenant" free:"true" help:"the id of the tenant; targets of a look for credentials name others"`
	Application string        `option:"application" help:"the client id of the application whose keys a door changes, and that signs in"`
	As          string        `option:"as" help:"the client id of another application that signs in and makes the changes"`
	Object      string        `option:"object" free:"true" default:"application" help:"where a door's keys are kept: application, or service-principal"`
	How         string        `option:"block" free:"true" default:"key" help:"how a door is blocked: key takes the key away, principal disables the application, grant takes the permissions of option grants from it"`
	Grants      []string      `option:"grants" free:"true" help:"the permissions that are taken away, such as full_access_as_app,Mail.Read; with block grant"`
	Sessions    bool          `option:"sessions" default:"false" help:"with block grant, end the sessions of those people whose permission was taken away"`
	Credential  string        `option:"credential" help:"PEM file of the certificate and key that sign in; it is read anew each time"`
	Secret      string        `option:"secret" help:"file whose first line is the client secret, for who signs in by one"`
	SecretLife  time.Duration `option:"secret-life" help:"how long a client secret is good that a rotation makes, at least 24h; Microsoft's two years without it"`
	Login       string        `option:"login" default:"https://login.microsoftonline.com" help:"where applications sign in, for other clouds"`
	Graph       string        `option:"graph" default:"https://graph.microsoft.com" help:"where Microsoft Graph is, for other clouds"`
	Scope       string        `option:"scope" default:"https://graph.microsoft.com/.default" help:"what a token is asked for"`
	CA          string        `option:"ca" help:"PEM file of the roots of both, in place of what this machine trusts"`
	Patience    time.Duration `option:"patience" default:"1m" help:"how long to wait in one call where Microsoft says later, and for a change to show"`
	Used        bool          `option:"used" default:"false" help:"a look for credentials also reads by which keys applications of other tenants have signed in; needs AuditLog.Read.All"`
	EWS         bool          `option:"ews" default:"false" help:"a look for credentials also reads which applications may use EWS; needs Exchange.ManageAsApp"`
	Exchange    string        `option:"exchange" default:"https://outlook.office365.com" help:"where Exchange Online is, for other clouds"`
	Concurrency int           `option:"concurrency" default:"8" help:"how many tenants to look at together, 1 to 256"`

	Logs   []string      `option:"logs" free:"true" default:"sign-ins,audits" help:"the logs to watch: sign-ins, audits, mail, mail-search, last-use, risks, keys"`
	Only   []string      `option:"only" free:"true" help:"the client ids of the applications that are watched (default all of the tenant)"`
	Every  time.Duration `option:"every" default:"30s" help:"how often the newest of a log is asked for"`
	Late   time.Duration `option:"late" default:"10m" help:"how long after a sign-in its record can usually be read"`
	Since  time.Duration `option:"since" default:"24h" help:"how far back the first reading of a log begins, at most 720h"`
	Manage string        `option:"manage" default:"https://manage.office.com" help:"where the Office 365 Management APIs are, for other clouds"`

	ExchangeScope string `option:"exchange-scope" default:"https://outlook.office365.com/.default" help:"what a token for Exchange Online is asked for"`
	ManageScope   string `option:"manage-scope" default:"https://manage.office.com/.default" help:"what a token for them is asked for"`
}

// Driver returns the driver. All that one value opens shares connections and tokens.
func Driver() driver.Driver {
	shared := newCloud()
	return driver.New("entra", "Microsoft Entra ID: credentials of applications and what they open; keys that sign in", func(o Options) (*Entra, error) {
		return open(o, shared)
	})
}

// mostTogether bounds the option concurrency.
const mostTogether = 256

// An Entra looks at tenants, and is the door of one application where the options name one.
type Entra struct {
	Options
	login, graph, manage, exchange *url.URL
	cloud                          *cloud
}

var (
	_ driver.Looker  = (*Entra)(nil)
	_ driver.Truster = (*Entra)(nil)
	_ driver.Blocker = (*Entra)(nil)
	_ driver.Rotator = (*Entra)(nil)
	_ driver.Verbed  = (*Entra)(nil)
)

func open(o Options, shared *cloud) (*Entra, error) {
	e := &Entra{Options: o, cloud: shared}
	for name, id := range map[string]*string{"tenant": &e.Tenant, "application": &e.Application, "as": &e.As} {
		if *id == "" {
			continue
		}
		var err error
		if *id, err = guid(*id); err != nil {
			return nil, fmt.Errorf("option %s: %w", name, err)
		}
	}
	var err error
	if e.login, err = base("login", o.Login); err != nil {
		return nil, err
	}
	if e.graph, err = base("graph", o.Graph); err != nil {
		return nil, err
	}
	if e.exchange, err = base("exchange", o.Exchange); err != nil {
		return nil, err
	}
	switch {
	case o.Object != "application" && o.Object != "service-principal":
		return nil, invalid("option object: %q is neither application nor service-principal", o.Object)
	case o.How != blockKey && o.How != blockPrincipal && o.How != blockGrant:
		return nil, invalid("option block: %q is none of key, principal and grant", o.How)
	case (o.How == blockGrant) != (len(o.Grants) > 0):
		return nil, invalid("options block and grants: block grant takes away the permissions that grants names, and nothing else does")
	case o.How != blockKey && (e.As == "" || e.As == e.Application):
		return nil, invalid("option as: name another application, which can undo the block: the one that is blocked cannot")
	case o.Credential != "" && o.Secret != "":
		return nil, invalid("options credential and secret: one of them signs in")
	case o.SecretLife != 0 && o.SecretLife < 24*time.Hour:
		return nil, invalid("option secret-life: %v is less than 24h", o.SecretLife)
	case o.Patience < 0 || o.Patience > time.Hour:
		return nil, invalid("option patience: %v is not between 0 and 1h", o.Patience)
	case o.Concurrency < 1 || o.Concurrency > mostTogether:
		return nil, invalid("option concurrency: %d is not between 1 and %d", o.Concurrency, mostTogether)
	}
	return e, e.checkWatch()
}

// Verbs returns those of a door when the options name one. Without option application there is
// nothing to look at, and whoever signs in replaces the secrets of others.
func (e *Entra) Verbs() []string {
	switch {
	case e.Tenant == "" || e.Application == "" && e.As == "":
		return nil
	case e.Application == "":
		return []string{"rotate"}
	case e.How != blockKey: // a further key would be shut out too
		return []string{"look", "block"}
	}
	return []string{"look", "trust", "block", "rotate"}
}

// guid reads an identifier as Microsoft writes them.
func guid(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != len(id.String()) {
		return "", invalid("%s is not an id such as 8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e11", network.Quote(text))
	}
	return id.String(), nil
}

// base reads the option of a service.
func base(name, text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" {
		return nil, invalid("option %s: %s is not a URL such as https://graph.microsoft.com", name, network.Quote(text))
	}
	return u, nil
}

// hostPort is where the service at a URL listens.
func hostPort(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
