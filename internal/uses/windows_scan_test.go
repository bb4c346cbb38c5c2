// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"maps"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzScanIsTheDecoder compares what the scan reads with what the XML decoder reads.
func FuzzScanIsTheDecoder(f *testing.F) {
	logs, err := os.ReadFile("testdata/windows-xml.log")
	if err != nil {
		f.Fatal(err)
	}
	eachEvent(string(logs), func(record string, _ int64, _ int) {
		if !(windowsFields{}).scan(record) {
			f.Errorf("%s is not scanned", record)
		}
		f.Add(record)
	})
	for _, data := range []string{
		`<Data Name="a">x</Data><Data Name='a'>y</Data>`, `<Data>x</Data><Data/><Data></Data>`, `<Data Name=''>x</Data>`,
		`<Data Name='a' Name='b'>x</Data>`, `<Data Other='b' Name='A>'>&lt;&#65;&amp;lt;</Data>`, "<Data Name='a\r\n'>x\r\n\ty\r</Data>",
		`<Data Name='a'>x<b/>y</Data>`, `<Data Name='a'><![CDATA[x]]></Data>`, `<Data Name='a'>]]></Data>`, `<Data Name='a'>&#1;</Data>`,
		`<Data Name='a'>&nbsp;</Data>`, `<!-- x --><Data Name='a'>x</Data>`, `<x:Data Name='a'>x</x:Data>`, `<Data x:Name='a'>x</Data>`,
		`<Data Name='a' >x</Data >`, `<Data Name = 'a'>x</Data>`, `<Data Name=a>x</Data>`, "<Data Name='a'>\u00e9\ufffe</Data>", `<Data Name='a'>x</data>`,
		`<Data Name='data' Name='b'>x</Data>`, `<Data Name='data'>x</Data><Data>y</Data>`, `<Binary>00</Binary>x`, `</EventData><EventData><Data>y</Data>`,
	} {
		f.Add(`<Event xmlns='u'><System><EventID Qualifiers='0'>1</EventID><TimeCreated SystemTime="t"/></System><EventData>` + data + `</EventData></Event>`)
	}
	f.Fuzz(func(t *testing.T, record string) {
		scanned := windowsFields{}
		if !scanned.scan(record) {
			return
		}
		decoded, err := decodeWindowsXML(record)
		if err != nil {
			t.Fatalf("the decoder does not read what the scan does: %q", record)
		}
		// What is not there and what is empty are the same to who reads the fields.
		empty := func(_, value string) bool { return value == "" }
		maps.DeleteFunc(scanned, empty)
		maps.DeleteFunc(decoded, empty)
		if d := cmp.Diff(decoded, scanned); d != "" {
			t.Errorf("%q: %s", record, d)
		}
	})
}
