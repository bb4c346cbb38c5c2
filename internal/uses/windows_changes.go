// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"

	"github.com/tallystick/tallystick"
)

// Changes of Active Directory in the Security log of domain controllers. 5136
// names attribute and value, and needs an audit entry (SACL) on the object; 4738
// and 4742 need none and tell less.

// changes gives on what an event changed.
func (f windowsFields) changes(event, computer string, sink Sink) error {
	var found []*tallystick.Change
	switch event {
	case "5136":
		found = f.attributeChange()
	case "5137", "5141":
		found = f.objectChange(event)
	case "4738", "4742":
		found = f.accountChange()
	case "4723", "4724":
		found = []*tallystick.Change{f.accountChanged(tallystick.ChangeCredentialAltered)}
	case "4728", "4732", "4756":
		found = []*tallystick.Change{f.membership(tallystick.ChangeGrantAdded)}
	case "4729", "4733", "4757":
		found = []*tallystick.Change{f.membership(tallystick.ChangeGrantRemoved)}
	default:
		found = f.keyChanges(event, computer)
	}
	if len(found) == 0 {
		return nil
	}
	at, err := readTime(f.time())
	if err != nil {
		return err
	}
	for _, c := range found {
		c.Source, c.Time, c.Existing = "windows:"+strings.ToLower(computer), at, -1
		if record := f.first("eventrecordid", "recordnumber", "record_id", "eventoriginid"); record != "" {
			c.ID = c.Source + "/" + record
		}
		if c.Operation == "" {
			c.Operation = event
		}
		f.actor(c)
		tell(sink, c)
	}
	return nil
}

// actor says who did it, unless that is known.
func (f windowsFields) actor(c *tallystick.Change) {
	if user := f.first("subjectusername"); user != "" && c.Actor == "" {
		c.Actor, c.ActorKind = windowsAccount(f.first("subjectdomainname"), user), "user"
		if strings.HasSuffix(user, "$") {
			c.ActorKind = "device"
		}
	}
	if c.Correlation == "" {
		c.Correlation = f.first("opcorrelationid", "subjectlogonid")
	}
}

func windowsAccount(domain, user string) string {
	return tallystick.NormalName("account:ad/" + domain + "/" + user)
}

// attributeChange reads 5136: one value of one attribute.
func (f windowsFields) attributeChange() []*tallystick.Change {
	added := f.first("operationtype") != "%%14675" // "Value Deleted"
	dn := f.first("objectdn")
	c := directoryChange(f.first("attributeldapdisplayname"), f["attributevalue"], added)
	if c == nil || dn == "" {
		return nil
	}
	toDirectory(c, dn, f.first("dsname"))
	c.Operation = "5136"
	return []*tallystick.Change{c}
}

// objectChange reads that an object was made (5137) or deleted (5141), of the
// classes that decide who gets in.
func (f windowsFields) objectChange(event string) []*tallystick.Change {
	kinds := [2]tallystick.ChangeKind{tallystick.ChangeSetting, tallystick.ChangeSetting}
	switch strings.ToLower(f.first("objectclass")) {
	case "trusteddomain":
		kinds = [2]tallystick.ChangeKind{tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved}
	case "pkicertificatetemplate", "pkienrollmentservice", "msds-groupmanagedserviceaccount", "msds-delegatedmanagedserviceaccount":
	default:
		return nil
	}
	c := &tallystick.Change{Kind: kinds[0], Detail: f.first("objectclass")}
	if event == "5141" {
		c.Kind = kinds[1]
	}
	toDirectory(c, f.first("objectdn"), f.first("dsname"))
	return []*tallystick.Change{c}
}

// accountChanged begins a change of the account that an event is about.
func (f windowsFields) accountChanged(kind tallystick.ChangeKind) *tallystick.Change {
	domain, user := f.first("targetdomainname"), f.first("targetusername")
	c := &tallystick.Change{Kind: kind, TargetName: user}
	if user != "" {
		c.Accounts = []string{windowsAccount(domain, user)}
	} else {
		user = f.first("targetsid")
	}
	c.Target = "ad:" + strings.ToLower(domain+"/"+user)
	if sid := f.first("targetsid"); strings.HasPrefix(sid, "S-1-5-21-") {
		c.Accounts = append(c.Accounts, "account:sid/"+sid)
	}
	return c
}

// accountChange reads 4738 and 4742, which name every attribute and have "-" for
// those that were not changed.
func (f windowsFields) accountChange() (found []*tallystick.Change) {
	if to := f.first("allowedtodelegateto"); to != "" && !strings.HasPrefix(to, "%%") {
		c := f.accountChanged(tallystick.ChangeGrantAdded)
		c.After, c.Grants = to, delegations(to)
		found = append(found, c)
	}
	if names := f.first("serviceprincipalnames"); names != "" && !strings.HasPrefix(names, "%%") {
		c := f.accountChanged(tallystick.ChangeSetting)
		c.After, c.Detail = names, "servicePrincipalName"
		found = append(found, c)
	}
	if set := f.first("passwordlastset"); set != "" && !strings.HasPrefix(set, "%%") {
		c := f.accountChanged(tallystick.ChangeCredentialAltered)
		c.Detail = "password set"
		found = append(found, c)
	}
	return found
}

// membership reads that a member came to a group or left it.
func (f windowsFields) membership(kind tallystick.ChangeKind) *tallystick.Change {
	c := &tallystick.Change{Kind: kind, Grants: []string{f.first("targetusername")}, Detail: "member of a group"}
	dn := f.first("membername")
	if dn == "" {
		dn = f.first("membersid")
	}
	toDirectory(c, dn, f.first("targetdomainname"))
	if sid := f.first("membersid"); strings.HasPrefix(sid, "S-1-5-21-") {
		c.Accounts = append(c.Accounts, "account:sid/"+sid)
	}
	return c
}
