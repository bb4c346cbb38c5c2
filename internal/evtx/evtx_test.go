// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the log that package uses reads")

// read returns what is in a log: a line for each record and each fault.
func read(t testing.TB, log []byte) string {
	t.Helper()
	r, err := NewReader(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for {
		c, err := r.Next()
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range c.Records {
			out.WriteString(record.XML + "\n")
		}
		for _, fault := range c.Faults {
			fmt.Fprintln(&out, "fault:", fault.Err)
		}
	}
}

// event is an event with one value, and the XML of one of text.
func event(v ...value) node {
	n := node{name: "Event"}
	for _, v := range v {
		n.content = append(n.content, node{name: "Data", attributes: []attribute{fixed("Name", "it's")}, content: []any{v}})
	}
	return n
}

func xmlOf(values ...string) string {
	out := "<Event>"
	for _, v := range values {
		out += "<Data Name='it&apos;s'>" + v + "</Data>"
	}
	return out + "</Event>\n"
}

// TestFileForUses makes the log that the tests of package uses read out of the
// events that they read as XML.
func TestFileForUses(t *testing.T) {
	events, err := os.ReadFile("../uses/testdata/windows-xml.log")
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter()
	var want string
	for _, line := range strings.SplitAfter(string(events), "</Event>") {
		if from := strings.Index(line, "<Event "); from >= 0 {
			want += line[from:] + "\n"
		}
	}
	for _, n := range nodes(t, string(events)) {
		w.event(n)
	}
	log := w.log(0)
	if d := cmp.Diff(want, read(t, log)); d != "" {
		t.Error(d)
	}
	const path = "../uses/testdata/windows-evtx.log"
	if *update {
		if err := os.WriteFile(path, log, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(log, committed) {
		t.Errorf("%s is not made of the events: run go test with -update", path)
	}
}

func TestValues(t *testing.T) {
	le := binary.LittleEndian
	sid := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}
	guid := []byte{0x25, 0x96, 0x84, 0x54, 0x78, 0x54, 0x94, 0x49, 0xa5, 0xba, 0x3e, 0x3b, 3, 0x28, 0xc3, 0x0d}
	time := le.AppendUint64(nil, 133_000_000_000_000_001)
	for _, c := range []struct {
		kind byte
		data []byte
		want []string // of each element that it becomes
	}{
		{typeNull, nil, []string{""}},
		{typeString, utf16Of("a<b>&'c'\x00\x00"), []string{"a&lt;b&gt;&amp;&apos;c&apos;"}},
		{typeString, utf16Of("é𝄞\x01"), []string{"é𝄞\ufffd"}},
		{typeString, []byte{0x00, 0xd8, 'a', 0}, []string{"\ufffda"}},
		{typeANSI, []byte("caf\xe9\x00"), []string{"café"}},
		{typeInt8, []byte{0xff}, []string{"-1"}},
		{typeUint8, []byte{0xff}, []string{"255"}},
		{typeInt16, []byte{0xfe, 0xff}, []string{"-2"}},
		{typeUint16, []byte{0xfe, 0xff}, []string{"65534"}},
		{typeInt32, []byte{0xfe, 0xff, 0xff, 0xff}, []string{"-2"}},
		{typeUint32, []byte{0xfe, 0xff, 0xff, 0xff}, []string{"4294967294"}},
		{typeInt64, bytes.Repeat([]byte{0xff}, 8), []string{"-1"}},
		{typeUint64, bytes.Repeat([]byte{0xff}, 8), []string{"18446744073709551615"}},
		{typeReal32, []byte{0, 0, 0xc0, 0x3f}, []string{"1.5"}},
		{typeReal64, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x7f}, []string{"1.#INF"}},
		{typeBool, []byte{1, 0, 0, 0}, []string{"true"}},
		{typeBinary, []byte{0xde, 0xad, 1}, []string{"DEAD01"}},
		{typeGUID, guid, []string{"{54849625-5478-4994-A5BA-3E3B0328C30D}"}},
		{typeSize, []byte{16, 0, 0, 0}, []string{"0x10"}},
		{typeFileTime, time, []string{"2022-06-18T04:26:40.0000001Z"}},
		{typeSystemTime, []byte{0xea, 7, 11, 0, 0, 0, 22, 0, 1, 0, 2, 0, 3, 0, 4, 0}, []string{"2026-11-22T01:02:03.004Z"}},
		{typeSID, sid, []string{"S-1-5-32-544"}},
		{typeHex32, []byte{0xe7, 3, 0, 0}, []string{"0x3e7"}},
		{typeHex64, le.AppendUint64(nil, 1<<63|1<<53), []string{"0x8020000000000000"}},
		{typeString | flagArray, utf16Of("a\x00\x00c\x00"), []string{"a", "", "c"}},
		{typeString | flagArray, nil, []string{""}},
		{typeANSI | flagArray, []byte("a\x00b"), []string{"a", "b"}},
		{typeUint16 | flagArray, []byte{1, 0, 2, 0}, []string{"1", "2"}},
		{typeHex64 | flagArray, make([]byte, 16), []string{"0x0", "0x0"}},
		{typeSID | flagArray, append(sid[:len(sid):len(sid)], sid...), []string{"S-1-5-32-544", "S-1-5-32-544"}},
		{typeGUID | flagArray, guid, []string{"{54849625-5478-4994-A5BA-3E3B0328C30D}"}},
	} {
		w := newWriter()
		w.event(event(value{kind: c.kind, data: c.data}))
		if d := cmp.Diff(xmlOf(c.want...), read(t, w.log(0))); d != "" {
			t.Errorf("type 0x%02x: %s", c.kind, d)
		}
	}
}

// TestValuesThatAreNone has values that are shorter than their type, or of none.
func TestValuesThatAreNone(t *testing.T) {
	for _, v := range []value{
		{kind: typeUint32, data: []byte{1}},
		{kind: typeGUID, data: []byte{1}},
		{kind: typeSID, data: []byte{1, 9, 0, 0, 0, 0, 0, 5}},
		{kind: typeSize, data: []byte{1}},
		{kind: 0x23},
		{kind: typeUint64 | flagArray, data: make([]byte, 9)},
		{kind: typeSID | flagArray, data: []byte{1}},
		{kind: typeBinXML, data: []byte{0x7f}},
		{kind: typeBinXML | flagArray, data: []byte{0}},
	} {
		w := newWriter()
		w.event(event(v))
		w.event(event(text("fine"))) // of the same template
		got := read(t, w.log(0))
		if !strings.HasPrefix(got, xmlOf("fine")+"fault: chunk 0, byte 4608: record 1: ") {
			t.Errorf("type 0x%02x: %s", v.kind, got)
		}
	}
}

// TestNothingOfNull leaves out attributes and elements that a template says to
// leave out, and keeps those that it does not.
func TestNothingOfNull(t *testing.T) {
	null := value{}
	w := newWriter()
	w.event(node{name: "Event", content: []any{
		node{name: "Security", attributes: []attribute{{"UserID", null, false}, {"Name", text("n"), false}}},
		node{name: "Depends", depends: 1, content: []any{node{name: "Inner", content: []any{text("x")}}}},
		node{name: "Stays", depends: 2, content: []any{null}},
	}})
	if d := cmp.Diff("<Event><Security Name='n'/><Stays></Stays></Event>\n", read(t, w.log(0))); d != "" {
		t.Error(d)
	}
}

// TestWithoutTemplate reads elements as logs that were forwarded have them.
func TestWithoutTemplate(t *testing.T) {
	w := newWriter()
	w.record(func() { w.element(event(text("forwarded")), false) })
	if d := cmp.Diff(xmlOf("forwarded"), read(t, w.log(0))); d != "" {
		t.Error(d)
	}
}

// TestXMLInAValue reads a template instance in a value, as EventData is stored.
func TestXMLInAValue(t *testing.T) {
	w := newWriter()
	w.record(func() {
		w.instance(event(value{kind: typeBinXML}))
		// Write the inner instance where the value is, and its size.
		spec := len(w.chunk) - len(w.values[0].data) - 4
		at := len(w.chunk)
		w.instance(node{name: "Inner", content: []any{text("deep")}})
		binary.LittleEndian.PutUint16(w.chunk[spec:], uint16(len(w.chunk)-at))
	})
	if got := read(t, w.log(0)); !strings.Contains(got, "<Inner>deep</Inner></Data></Event>\n") {
		t.Error(got)
	}
}

// TestReferences writes what text of a template can hold beside text.
func TestReferences(t *testing.T) {
	w := newWriter()
	w.record(func() {
		w.u8(tokenOpenElement)
		w.sized(func() {
			w.name("Event")
			w.u8(tokenCloseStart, tokenCharRef|flagMore, 'A', 0, tokenEntityRef|flagMore)
			w.name("lt")
			w.u8(tokenCDATA, 3, 0)
			w.u8(utf16Of("]]>")...)
			w.u8(tokenPITarget)
			w.name("target")
			w.u8(tokenPIData, 1, 0, 'x', 0, tokenEndElement)
		})
	})
	if d := cmp.Diff("<Event>&#65;&lt;]]&gt;</Event>\n", read(t, w.log(0))); d != "" {
		t.Error(d)
	}
}
