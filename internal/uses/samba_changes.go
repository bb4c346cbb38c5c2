// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// Changes in the JSON audit log of a Samba domain controller, classes
// dsdb_json_audit, dsdb_password_json_audit and dsdb_group_json_audit (smb.conf(5),
// "log level"). Values beyond 1024 bytes are cut there: a long certificate has no
// name then.

type sambaChangeRecord struct {
	Timestamp, Type flexText
	DsdbChange      *sambaChange `json:"dsdbChange"`
	PasswordChange  *sambaChange `json:"passwordChange"`
	GroupChange     *sambaChange `json:"groupChange"`
}

type sambaChange struct {
	Status, Operation, RemoteAddress, UserSid, DN flexText
	TransactionID, SessionID                      flexText
	Action, Group, User                           flexText
	PerformedAsSystem                             flexText
	Attributes                                    map[string]struct {
		Actions []struct {
			Action flexText
			Values []struct{ Value flexText }
		}
	}
}

// readSambaChange reads what is no Authentication.
func readSambaChange(record string, sink Sink) error {
	if err := shallow(record); err != nil {
		return err
	}
	var r sambaChangeRecord
	if json.Unmarshal([]byte(record), &r) != nil {
		return errors.New("expected a record of Samba's dsdb audit")
	}
	var found []*tallystick.Change
	var body *sambaChange
	switch {
	case r.DsdbChange != nil:
		body = r.DsdbChange
		found = body.attributes()
	case r.PasswordChange != nil:
		body = r.PasswordChange
		c := &tallystick.Change{Kind: tallystick.ChangeCredentialAltered, Operation: "password " + strings.ToLower(string(body.Action)), Detail: "password set"}
		toDirectory(c, string(body.DN), "")
		found = append(found, c)
	case r.GroupChange != nil:
		body = r.GroupChange
		found = body.membership()
	}
	if len(found) == 0 {
		return nil
	}
	at, err := readTime(string(r.Timestamp))
	if err != nil {
		return err
	}
	for _, c := range found {
		c.Source, c.Time, c.Existing = "samba", at, -1
		c.Failed = body.Status != "Success"
		c.Address, _ = splitAddress(string(body.RemoteAddress))
		c.Correlation = string(body.SessionID)
		if body.TransactionID != "" {
			c.ID = string(body.TransactionID)
		}
		if sid := string(body.UserSid); sid != "" {
			c.Actor, c.ActorKind = "account:sid/"+sid, "user"
		}
		tell(sink, c)
	}
	return nil
}

// attributes reads the attributes of a modified or new object. A replaced value
// is one that was added: what stood there before is not told.
func (s *sambaChange) attributes() (found []*tallystick.Change) {
	for _, name := range sortedKeys(s.Attributes) {
		for _, action := range s.Attributes[name].Actions {
			values := []string{}
			for _, v := range action.Values {
				values = append(values, string(v.Value))
			}
			if len(values) == 0 {
				values = append(values, "") // redacted, or all of them were deleted
			}
			for _, value := range values {
				c := directoryChange(name, value, action.Action != "delete")
				if c == nil {
					continue
				}
				c.Operation = string(s.Operation)
				toDirectory(c, string(s.DN), "")
				found = append(found, c)
			}
		}
	}
	return found
}

func (s *sambaChange) membership() []*tallystick.Change {
	c := &tallystick.Change{Kind: tallystick.ChangeGrantAdded, Operation: "group " + strings.ToLower(string(s.Action)), Detail: "member of a group"}
	switch s.Action {
	case "Removed":
		c.Kind = tallystick.ChangeGrantRemoved
	case "Added":
	default: // PrimaryGroup, and what later versions tell
		return nil
	}
	if s.Group == "" || s.User == "" || s.Group == s.User { // a new account is told as a member of itself
		return nil
	}
	_, group, _ := strings.Cut(splitDN(string(s.Group))[0], "=")
	c.Grants = []string{group}
	toDirectory(c, string(s.User), "")
	return []*tallystick.Change{c}
}
