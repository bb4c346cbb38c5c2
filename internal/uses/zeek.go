// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strings"

	"github.com/tallystick/tallystick"
)

// Zeek's ssl.log: what a network sensor saw of TLS handshakes. It names the
// certificates of a client where the handshake showed them (TLS 1.2 and older).

func zeekJSONFormat() Format {
	return Format{
		Name: "zeek-json", layout: byLine,
		is: func(record string) bool {
			return hasMembers(record, "ts", "uid", "id.orig_h") && (strings.Contains(record, "client_cert") || strings.Contains(record, `"cipher"`))
		},
		reader: stateless(readZeekJSON),
	}
}

func zeekTSVFormat() Format {
	return Format{
		Name: "zeek-tsv", layout: byLine,
		is:        func(record string) bool { return strings.HasPrefix(record, "#separator \\x09") },
		reader:    func(Settings) ReadFunc { return (&zeekTSV{}).read },
		following: true,
	}
}

func readZeekJSON(record string, sink Sink) error {
	fields := map[string]string{}
	c := cursor{text: record}
	err := c.object(func(key string) error {
		list, err := c.strings()
		if len(list) > 0 {
			fields[key] = list[0] // of a chain, the certificate of the client itself
		}
		return err
	})
	if err == nil {
		err = c.end()
	}
	if err != nil {
		return err
	}
	return zeekUse(fields, sink)
}

// A zeekTSV knows the columns that the head of the file names.
type zeekTSV struct{ columns []string }

func (z *zeekTSV) read(record string, sink Sink) error {
	if rest, ok := strings.CutPrefix(record, "#fields\t"); ok {
		z.columns = strings.Split(strings.Clone(rest), "\t")
		return nil
	}
	if strings.HasPrefix(record, "#") || record == "" {
		return nil
	}
	cells := strings.Split(record, "\t")
	if len(cells) != len(z.columns) {
		return errors.New("expected as many columns as the line #fields names")
	}
	fields := map[string]string{}
	for i, cell := range cells {
		if cell != "-" && cell != "(empty)" {
			fields[z.columns[i]], _, _ = strings.Cut(cell, ",")
		}
	}
	return zeekUse(fields, sink)
}

func zeekUse(f map[string]string, sink Sink) error {
	at, ok := unixTime(f["ts"])
	if !ok {
		var err error
		if at, err = readTime(f["ts"]); err != nil {
			return errors.New("expected ts to be seconds since 1970")
		}
	}
	u := tallystick.Use{ID: f["uid"], Source: "zeek", Side: tallystick.SideRelying, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
		Address: f["id.orig_h"], Resource: f["client_subject"], Outcome: tallystick.OutcomeSuccess, IDs: tallystick.UseIDs{Session: f["uid"]}}
	u.Port = max(0, digits(f["id.orig_p"]))
	if fingerprint := f["client_cert_chain_fps"]; fingerprint != "" {
		u.Credential = []string{thumbprintName(fingerprint)}
	} else if f["client_subject"] != "" {
		u.Credential = []string{"x509-subject:" + f["client_subject"]}
	} else {
		return nil // no certificate of a client was seen
	}
	if f["established"] == "F" || f["established"] == "false" {
		u.Outcome = tallystick.OutcomeAttempt
	}
	name := f["server_name"]
	if name == "" {
		name = f["id.resp_h"]
	}
	u.RelyingParty = serverParty("https", name, f["id.resp_p"])
	sink.Use(&u)
	return nil
}
