// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// The access logs of nginx and haproxy, in the JSON log formats that
// docs/reconcile.md gives: those that come with the servers say nothing about
// client certificates.

func nginxFormat() Format {
	return Format{
		Name: "nginx", layout: byLine,
		is:     func(record string) bool { return hasMembers(record, "ts", "verify", "sdn") },
		reader: stateless(readNginx),
	}
}

func haproxyFormat() Format {
	return Format{
		Name: "haproxy", layout: byLine,
		is:     func(record string) bool { return hasMembers(jsonPart(record), "ts", "client", "verify", "sha256") },
		reader: stateless(readHAProxy),
	}
}

// jsonPart returns the record from its first brace: syslog writes before it.
func jsonPart(record string) string {
	if i := strings.IndexByte(record, '{'); i > 0 {
		return record[i:]
	}
	return record
}

// flatMembers reads an object of scalars. One that has a member twice was written
// without escaping, and with text of whoever connected.
func flatMembers(record string) (map[string]string, error) {
	fields := map[string]string{}
	c := cursor{text: record}
	err := c.object(func(key string) error {
		value, err := c.scalar()
		if _, twice := fields[key]; twice && err == nil {
			return fmt.Errorf("expected each member once, and %q is there twice", key)
		}
		fields[key] = value
		return err
	})
	if err == nil {
		err = c.end()
	}
	return fields, err
}

func readNginx(record string, sink Sink) error {
	f, err := flatMembers(record)
	if err != nil {
		return err
	}
	at, err := readTime(f["ts"])
	if err != nil {
		return err
	}
	if precise, ok := unixTime(f["msec"]); ok {
		at = precise
	}
	if f["verify"] == "NONE" || f["verify"] == "" && f["sdn"] == "" {
		return nil // no certificate was shown
	}
	u := tallystick.Use{Source: "nginx", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Operation: f["req"], Agent: f["ua"], Resource: f["sdn"], Outcome: tallystick.OutcomeSuccess}
	u.Address, u.Port = splitAddress(f["remote"])
	// nginx judges the certificate after the handshake, in which the client has
	// proved that it holds the key: what it refuses then is a use.
	if f["verify"] != "SUCCESS" || f["status"] >= "400" {
		u.Outcome, u.Detail = tallystick.OutcomeRefused, strings.TrimSpace(f["verify"]+" "+f["status"])
	}
	u.IDs.Serial, u.IDs.Request = strings.ToLower(f["serial"]), f["request_id"]
	u.IDs.Session = f["conn"]
	u.Credential = certificateNames(f["cert"])
	if len(u.Credential) == 0 && f["fp_sha1"] != "" {
		u.Credential = []string{tallystick.NormalName("x5t:" + f["fp_sha1"])}
	}
	if len(u.Credential) == 0 {
		u.Credential = []string{"x509-subject:" + f["sdn"]}
	}
	u.RelyingParty = serverParty("https", f["sni"], f["port"])
	sink.Use(&u)
	return nil
}

// serverParty names a server. A client that dials an address sends no name (RFC
// 6066 section 3): then the log knows neither the address that the holder's book
// has nor its port from outside, and says the kind alone, which agrees with any.
func serverParty(kind, name, port string) string {
	switch {
	case name == "" || name == "-": // haproxy writes "-" for what there is not
		return kind + ":"
	case port == "" || port == "-":
		return kind + ":" + name
	}
	return kind + ":" + name + ":" + port
}

// unixTime reads seconds since 1970 with a fraction.
func unixTime(s string) (time.Time, bool) {
	whole, fractionText, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds < 0 || seconds > 1<<38 || len(fractionText) > 9 {
		return time.Time{}, false
	}
	nanos := 0
	if fractionText != "" {
		nanos = digits((fractionText + "000000000")[:9])
	}
	return time.Unix(seconds, int64(nanos)).UTC(), nanos >= 0
}

func readHAProxy(record string, sink Sink) error {
	record = jsonPart(record)
	if record == "" || record[0] != '{' {
		return nil // haproxy's own messages, and handshakes that failed, which name nobody
	}
	// An early form of the documented log-format put quotes round a quoted name.
	f, err := flatMembers(record)
	if err != nil {
		var quoted error
		if f, quoted = flatMembers(strings.ReplaceAll(record, `""`, `"`)); quoted != nil {
			return err
		}
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", f["ts"])
	if err != nil {
		return errors.New("expected ts to be a time such as 22/Nov/2026:04:57:19 +0000")
	}
	at = at.UTC()
	if f["used"] == "0" || f["sha256"] == "" {
		return nil
	}
	u := tallystick.Use{Source: "haproxy", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Resource: f["s_dn"], Outcome: tallystick.OutcomeSuccess, Operation: f["req"], Agent: f["ua"]}
	u.Address, u.Port = splitAddress(f["client"])
	if f["verify"] != "0" || f["status"] >= "400" {
		u.Outcome, u.Detail = tallystick.OutcomeRefused, "verify="+f["verify"]+" status="+f["status"]
	}
	u.IDs.Serial, u.IDs.Request = strings.ToLower(f["serial"]), f["request_id"]
	u.Credential = []string{tallystick.NormalName("cert-sha256:" + f["sha256"])}
	if f["sha1"] != "" {
		u.Credential = append(u.Credential, tallystick.NormalName("x5t:"+f["sha1"]))
	}
	u.RelyingParty = serverParty("https", f["sni"], f["port"])
	sink.Use(&u)
	return nil
}
