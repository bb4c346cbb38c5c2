// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/signin"
)

// byDN is the word of the option mail-user for the name of the entry itself.
const byDN = "dn"

// openMail reads the options about mail servers.
func (d *LDAP) openMail() (err error) {
	if d.mail, err = signin.Listeners(d.MailListeners); err != nil {
		return err
	}
	if !slices.Contains([]string{"uid", "mail", byDN}, d.MailUser) {
		return invalid("option mail-user: %q is not uid, mail or dn", d.MailUser)
	}
	return installing.CheckPath("mail-ca", d.MailCA)
}

// mailNameOf returns by which name an account signs in to mail servers: of several the one in its
// DN, else the one that the directory has first.
func (d *LDAP) mailNameOf(entry *ldap.Entry) (string, error) {
	switch {
	case len(d.mail) == 0:
		return "", nil
	case d.MailUser == byDN:
		return entry.DN, nil
	}
	values := ldapdir.Texts(entry, d.MailUser)
	if len(values) == 0 {
		return "", invalid("%s has no %s, by which it would sign in to the mail servers of the option mail-listeners: name what it signs in by in the option mail-user", network.Quote(entry.DN), d.MailUser)
	}
	if dn, err := ldap.ParseDN(entry.DN); err == nil && len(dn.RDNs) > 0 {
		for _, part := range dn.RDNs[0].Attributes {
			if strings.EqualFold(part.Type, d.MailUser) && slices.Contains(values, part.Value) {
				return part.Value, nil
			}
		}
	}
	return values[0], nil
}

// mailClient signs in to the mail servers.
func (d *LDAP) mailClient(ctx context.Context, request driver.SecretRequest) (signin.Client, error) {
	roots, err := signin.Roots(ctx, request.Host, "mail-ca", d.MailCA)
	return signin.Client{Host: request.Host, Roots: roots, Now: request.Now}, err
}

// atMail goes on at the mail servers, which may count as well.
func (t *trial) atMail(ctx context.Context, servers []ldapdir.Server) error {
	client, err := t.mailClient(ctx, t.Request)
	if err != nil {
		return err
	}
	if t.Counts {
		client.Forget = func(ctx context.Context) bool { return t.settle(ctx, servers) }
	}
	t.Counts = true
	return client.Join(ctx, &t.Trial, t.account.mailName, t.mail)
}

// settle signs in with New at every server of the directory, each of which may have a count of its
// own, and says whether all have let it in.
func (t *trial) settle(ctx context.Context, servers []ldapdir.Server) bool {
	for _, server := range servers {
		addresses, err := addressesOf(ctx, server)
		if err != nil {
			return false
		}
		for _, server.Address = range addresses {
			attempt, err := t.enterAs(ctx, server, t.Request.New)
			tell(t.Request, t.account, attempt)
			if err != nil || attempt.Outcome != driver.OutcomeAccepted {
				return false
			}
		}
	}
	return true
}

// remind signs in with New at the mail servers after Old is gone. One that remembers the last right
// password (auth_cache_size of Dovecot) lets Old in without asking the directory, for an hour if
// nothing else is said, until another one is right. Whether it did is for TestSecret to find out.
func (c change) remind(ctx context.Context, a *account) error {
	if len(c.mail) == 0 || a.mayTry(c.Now()) == 0 {
		return nil
	}
	client, err := c.mailClient(ctx, c.SecretRequest)
	if err != nil {
		return err
	}
	request := c.SecretRequest
	request.TryOld = false
	_, err = client.Test(ctx, request, a.mailName, c.mail)
	return err
}
