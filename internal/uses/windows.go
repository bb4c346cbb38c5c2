// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/xml"
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// Windows Security events. A domain controller writes 4768 for a ticket that an
// account asked for, with the certificate that it showed, and 4769 for a ticket
// to a service; a host with a key writes 5061 for each operation with it, and is
// a holder. Exports differ in shape, and agree in the names of the fields.

func windowsJSONFormat() Format {
	return Format{
		Name: "windows-json", layout: byElement,
		is: func(record string) bool {
			lower := strings.ToLower(record)
			return (strings.Contains(lower, `"eventid"`) || strings.Contains(lower, `"event_id"`)) &&
				(strings.Contains(lower, "security-auditing") || strings.Contains(lower, `"targetusername"`) || strings.Contains(lower, `"eventdata"`))
		},
		reader: stateless(readWindowsJSON),
	}
}

func windowsXMLFormat() Format {
	return Format{
		Name: "windows-xml", layout: byEvent,
		is:     func(record string) bool { return strings.HasPrefix(record, "<Event") },
		reader: stateless(readWindowsXML),
	}
}

// windowsFields are the fields of an event, by their names in lower case.
type windowsFields map[string]string

func readWindowsJSON(record string, sink Sink) error {
	fields := windowsFields{}
	c := cursor{text: record}
	if err := fields.collect(&c, "", 0); err != nil {
		return err
	}
	if err := c.end(); err != nil {
		return err
	}
	return fields.emit(sink)
}

// collect takes every text and number of the object, at any depth: the first of a name counts.
func (f windowsFields) collect(c *cursor, under string, depth int) error {
	if depth > 10 {
		return errTooDeep
	}
	return c.object(func(key string) error {
		key = strings.ToLower(key)
		if c.space() == '{' {
			return f.collect(c, key, depth+1)
		}
		value, err := c.scalar()
		if key == "#text" {
			key = under
		}
		if _, ok := f[key]; !ok && value != "" {
			f[key] = value
		}
		return err
	})
}

type windowsXMLEvent struct {
	System struct {
		EventID     string
		Computer    string
		RecordID    string `xml:"EventRecordID"`
		TimeCreated struct {
			SystemTime string `xml:"SystemTime,attr"`
		}
	}
	EventData struct {
		Data []struct {
			Name  string `xml:"Name,attr"`
			Value string `xml:",chardata"`
		}
	}
}

func readWindowsXML(record string, sink Sink) error {
	fields := windowsFields{}
	if !fields.scan(record) {
		var err error
		if fields, err = decodeWindowsXML(record); err != nil {
			return err
		}
	}
	return fields.emit(sink)
}

func decodeWindowsXML(record string) (windowsFields, error) {
	var event windowsXMLEvent
	if err := xml.Unmarshal([]byte(record), &event); err != nil {
		return nil, errors.New("expected an XML element Event that is whole")
	}
	fields := windowsFields{
		"eventid": event.System.EventID, "computer": event.System.Computer, "eventrecordid": event.System.RecordID,
		"systemtime": event.System.TimeCreated.SystemTime,
	}
	for _, d := range event.EventData.Data {
		if d.Name == "" {
			d.Name = "data" // of programs that write text and no fields
		}
		fields[strings.ToLower(d.Name)] = d.Value
	}
	return fields, nil
}

// first returns the first field that is there and not "-".
func (f windowsFields) first(names ...string) string {
	for _, name := range names {
		if value := strings.TrimSpace(f[name]); value != "" && value != "-" {
			return value
		}
	}
	return ""
}

func (f windowsFields) emit(sink Sink) error {
	event := f.first("eventid", "event_id")
	if event == "" {
		return errors.New("expected an EventID")
	}
	u := tallystick.Use{Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Count: 1, Operation: event, Outcome: tallystick.OutcomeSuccess}
	computer := f.first("computer", "hostname", "computer_name")
	if wantsChanges(sink) {
		if err := f.changes(event, computer, sink); err != nil {
			return err
		}
	}
	switch event {
	case "4768", "4769":
		f.ticket(&u, computer)
	case "5061":
		f.keyOperation(&u, computer)
	default:
		return nil
	}
	at, err := readTime(f.time())
	if err != nil {
		return err
	}
	u.Time, u.Until = at, at
	u.Source = "windows:" + strings.ToLower(computer)
	if record := f.first("eventrecordid", "recordnumber", "record_id"); record != "" {
		u.ID = u.Source + "/" + record
	}
	if len(u.Credential) > 0 {
		sink.Use(&u)
	}
	return nil
}

// time returns when it happened; some exports write a blank for the "T" or no zone, and mean UTC.
func (f windowsFields) time() string {
	t := f.first("systemtime", "@timestamp", "timecreated", "eventtime", "utctime", "timegenerated")
	if len(t) >= 19 && !strings.ContainsAny(t[10:], "Zz+") && strings.LastIndexByte(t, '-') < 10 {
		t += "Z"
	}
	return t
}

// ticket reads a request for a Kerberos ticket (4768, 4769).
func (f windowsFields) ticket(u *tallystick.Use, computer string) {
	user, domain := f.first("targetusername"), f.first("targetdomainname")
	user, _, _ = strings.Cut(user, "@")
	u.Credential = []string{"account:ad/" + domain + "/" + user}
	if sid := f.first("targetsid"); strings.HasPrefix(sid, "S-1-5-21-") {
		u.Credential = append(u.Credential, "account:sid/"+sid)
	}
	if thumbprint := f.first("certthumbprint"); thumbprint != "" {
		// The key was the certificate's; the account is what it opens.
		u.Credential = []string{thumbprintName(thumbprint)}
		u.IDs.Serial, u.Resource = f.first("certserialnumber"), "account:ad/"+domain+"/"+user
	}
	if u.Operation == "4769" {
		u.Level, u.Resource = tallystick.LevelCall, f.first("servicename")
	}
	u.Address = bareAddress(f.first("ipaddress"))
	u.RelyingParty = "kerberos:" + strings.ToLower(computer)
	if status := f.first("status"); status != "" && status != "0x0" {
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, status
	}
}

// keyOperation reads a signature or decryption with a key of this host (5061).
func (f windowsFields) keyOperation(u *tallystick.Use, computer string) {
	name := f.first("keyname")
	if name == "" || f.first("operation") == "%%2464" { // delete key
		return
	}
	u.Side, u.Level = tallystick.SideHolder, tallystick.LevelSignature
	u.Credential = []string{"windows-key:" + strings.ToLower(computer) + "/" + name}
	u.Holder = f.first("subjectusername")
	if code := f.first("returncode"); code != "" && code != "0x0" {
		u.Outcome, u.Detail = tallystick.OutcomeAttempt, code
	}
}
