// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// sambaFormat is the JSON audit log of a Samba domain controller, class
// auth_json_audit: one Authentication for each password, ticket or certificate
// that was checked. Changes (dsdbChange ...) are in samba_changes.go.
func sambaFormat() Format {
	return Format{
		Name: "samba", layout: byLine,
		is: func(record string) bool {
			return hasMembers(record, "timestamp", "type") && (strings.Contains(record, `"Authentication"`) || strings.Contains(record, `"Authorization"`) || strings.Contains(record, `"dsdb`) ||
				strings.Contains(record, `"passwordChange"`) || strings.Contains(record, `"groupChange"`))
		},
		reader: stateless(readSamba),
	}
}

type sambaRecord struct {
	time, kind, status, local, remote, service, method string
	domain, account, sid, client, password, session    string
}

func readSamba(record string, sink Sink) error {
	var s sambaRecord
	c := cursor{text: record}
	err := c.object(func(key string) error {
		switch key {
		case "timestamp":
			return c.into(&s.time)
		case "type":
			return c.into(&s.kind)
		case "Authentication":
			return c.object(func(name string) error { return s.member(&c, name) })
		}
		return c.skip()
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	if s.kind == "" {
		return errors.New("expected the type of the record")
	}
	if s.kind != "Authentication" {
		if wantsChanges(sink) {
			return readSambaChange(record, sink)
		}
		return nil
	}
	return s.emit(sink)
}

func (s *sambaRecord) member(c *cursor, name string) error {
	switch name {
	case "status":
		return c.into(&s.status)
	case "localAddress":
		return c.into(&s.local)
	case "remoteAddress":
		return c.into(&s.remote)
	case "serviceDescription":
		return c.into(&s.service)
	case "authDescription":
		return c.into(&s.method)
	case "becameDomain":
		return c.into(&s.domain)
	case "becameAccount":
		return c.into(&s.account)
	case "becameSid":
		return c.into(&s.sid)
	case "clientAccount":
		return c.into(&s.client)
	case "passwordType":
		return c.into(&s.password)
	case "logonId":
		return c.into(&s.session)
	}
	return c.skip()
}

func (s *sambaRecord) emit(sink Sink) error {
	at, err := readTime(s.time)
	if err != nil {
		return err
	}
	u := tallystick.Use{Source: "samba", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Operation: s.method, Outcome: tallystick.OutcomeSuccess}
	if s.status != "NT_STATUS_OK" {
		u.Outcome, u.Detail = windowsOutcome(s.status), s.status
	}
	u.Address, u.Port = splitAddress(s.remote)
	kind := "ldap"
	if strings.HasPrefix(s.service, "Kerberos") {
		kind = "kerberos"
	}
	host, port := splitAddress(s.local)
	u.RelyingParty = serverParty(kind, host, strconv.Itoa(port))
	if s.account != "" {
		u.Credential = append(u.Credential, "account:ad/"+s.domain+"/"+s.account)
	}
	if strings.HasPrefix(s.sid, "S-1-5-21-") {
		u.Credential = append(u.Credential, "account:sid/"+s.sid)
	}
	if len(u.Credential) == 0 { // nobody's account was opened: the name that was tried
		account, _, _ := strings.Cut(s.client, "@")
		u.Credential = []string{"account:ad/" + s.domain + "/" + account}
	}
	if strings.HasPrefix(s.method, "PK-INIT") && strings.Contains(s.password, "=") {
		u.Resource = s.password // the subject: every certificate of that name shares it
	}
	sink.Use(&u)
	return nil
}

// windowsOutcome says what an NTSTATUS of a refused logon shows. Expired and
// locked accounts are told only to who knew the password ([MS-ERREF] 2.3).
func windowsOutcome(status string) tallystick.Outcome {
	switch status {
	case "NT_STATUS_ACCOUNT_DISABLED", "NT_STATUS_ACCOUNT_EXPIRED", "NT_STATUS_PASSWORD_EXPIRED", "NT_STATUS_PASSWORD_MUST_CHANGE":
		return tallystick.OutcomeRefused
	}
	return tallystick.OutcomeAttempt
}
