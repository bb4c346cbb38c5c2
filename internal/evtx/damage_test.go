// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// twoChunks is a log of two chunks of two events each.
func twoChunks(flags byte) []byte {
	w := newWriter()
	w.event(event(text("one")))
	w.event(event(text("two")))
	w.end()
	w.event(event(text("three")))
	w.event(event(text("four")))
	return w.log(flags)
}

func TestDamageIsToldAndTheRestIsRead(t *testing.T) {
	const first, second = headerSize, headerSize + chunkSize
	all := xmlOf("one") + xmlOf("two") + xmlOf("three") + xmlOf("four")
	last := xmlOf("three") + xmlOf("four")
	for name, c := range map[string]struct {
		flags byte
		harm  func(log []byte) []byte
		want  string
	}{
		"none":   {0, func(log []byte) []byte { return log }, all},
		"header": {0, func(log []byte) []byte { log[16] ^= 1; return log }, all[:len(xmlOf("one"))*2] + "fault: the file's header does not match its checksum\n" + last},
		"records": {0, func(log []byte) []byte { log[first+600] ^= 1; return log },
			"fault: chunk 0, byte 4096: its records do not match their checksum\n" + last},
		"chunk header": {0, func(log []byte) []byte { log[first+20] ^= 1; return log },
			"fault: chunk 0, byte 4096: its header does not match its checksum\n" + last},
		"magic": {0, func(log []byte) []byte { log[first] ^= 1; return log },
			"fault: chunk 0, byte 4096: it does not begin as a chunk does\n" + last},
		"blank chunk": {0, func(log []byte) []byte { clear(log[first:second]); return log }, last},
		"free space": {0, func(log []byte) []byte {
			log[first+48], log[first+49] = 1, 0
			binary.LittleEndian.PutUint32(log[first+124:], headerSum(log[first:]))
			return log
		}, "fault: chunk 0, byte 4096: its records end before they begin\n" + last},
		"no checksums":          {4, func(log []byte) []byte { log[first+124] ^= 1; log[16] ^= 1; return log }, all},
		"open, an old header":   {1, func(log []byte) []byte { log[second+48], log[second+49] = 0, 2; return log }, all},
		"open, with older ones": {1, func(log []byte) []byte { log[second+48], log[second+49], log[len(log)-9] = 0, 2, 9; return log }, all + "fault: chunk 1, byte 70400: it was being written when the file was copied: what is behind its last record is not of the same time\n"},
		"cut":                   {0, func(log []byte) []byte { return log[:second+recordsStart+800] }, all[:2*len(xmlOf("one"))] + last + "fault: chunk 1, byte 69632: the file ends in the middle of it\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, read(t, c.harm(twoChunks(c.flags)))); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestARecordThatIsDamaged is stepped over, though its size is wrong.
func TestARecordThatIsDamaged(t *testing.T) {
	log := twoChunks(0)
	log[headerSize+recordsStart+4] ^= 1
	seal(log[headerSize : headerSize+chunkSize])
	want := xmlOf("two") + "fault: chunk 0, byte 4608: its two sizes differ\n" + xmlOf("three") + xmlOf("four")
	if d := cmp.Diff(want, read(t, log)); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNoLog(t *testing.T) {
	old := twoChunks(0)
	old[38] = 1
	for _, log := range [][]byte{nil, []byte(Magic), bytes.Repeat([]byte("<Event>"), 1000), old} {
		if _, err := NewReader(bytes.NewReader(log)); !errors.Is(err, ErrNotEVTX) {
			t.Errorf("%.10q: %v", log, err)
		}
	}
}

// hostile returns a chunk of one record of what write writes, as often as it fits.
func hostile(write func(w *writer)) []byte {
	w := newWriter()
	for len(w.chunk) < chunkSize/3 {
		w.record(func() { write(w) })
	}
	return w.log(0)
}

// TestNothingGrowsBeyondBounds has records that would become huge, or nest without end.
func TestNothingGrowsBeyondBounds(t *testing.T) {
	for name, log := range map[string][]byte{
		"a value that is named often": hostile(func(w *writer) {
			w.definition(func() {
				w.u8(tokenOpenElement, 0xff, 0xff)
				w.u32(0)
				w.name("Event")
				w.u8(tokenCloseStart)
				w.u8(bytes.Repeat([]byte{tokenSubstitution, 0, 0, typeString}, 2000)...)
				w.u8(tokenEndElement)
			})
			w.values = []value{text(strings.Repeat("&", 2000))}
			w.valuesOf()
		}),
		"what is dropped again": hostile(func(w *writer) {
			const first = recordsStart + recordHead + 4
			w.values = []value{{}, {kind: typeBinary, data: make([]byte, 60)}}
			if len(w.chunk) == first {
				w.definition(func() {
					w.u8(tokenOpenElement, 0, 0) // which depends on null
					w.u32(0)
					w.name("Event")
					w.u8(tokenCloseStart)
					w.u8(bytes.Repeat([]byte{tokenSubstitution, 1, 0, typeBinary}, 4000)...)
					w.u8(tokenEndElement)
				})
			} else {
				w.u8(tokenTemplate, 1)
				w.u32(1)
				w.u32(first + 10)
			}
			w.valuesOf()
		}),
		"elements in elements": hostile(func(w *writer) {
			for range 1000 {
				w.u8(tokenOpenElement)
				w.u32(0)
				w.name("Event")
				w.u8(tokenCloseStart)
			}
		}),
		"a template in itself": hostile(func(w *writer) {
			at := len(w.chunk)
			w.definition(func() {
				for range 20 { // which it is 20 times
					w.u8(tokenTemplate, 1)
					w.u32(1)
					w.u32(at + 10)
					w.u32(0)
				}
			})
			w.u32(0)
		}),
		"a template that is a template often": hostile(func(w *writer) {
			inner := 0
			for range 5 { // each is the one before it, 200 times, and so nothing 200^4 times
				at := len(w.chunk)
				w.definition(func() {
					for range 200 {
						if inner > 0 {
							w.u8(tokenTemplate, 1)
							w.u32(1)
							w.u32(inner)
							w.u32(0)
						}
					}
				})
				w.u32(0)
				inner = at + 10
			}
		}),
		"an array of elements": hostile(func(w *writer) {
			long := strings.Repeat("n", 200)
			w.instance(node{name: long, attributes: []attribute{fixed(long, long)}, content: []any{value{kind: typeUint8 | flagArray, data: make([]byte, 20_000)}}})
		}),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			got := read(t, log)
			t.Logf("%d bytes, %.150q", len(got), got)
			if !strings.Contains(got, "fault: ") || len(got) > chunkLimit+1<<20 {
				t.Errorf("%d bytes: %.300s", len(got), got)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// FuzzRecords reads the records of a chunk, whose checksums are made right unless
// it is one that is being written.
func FuzzRecords(f *testing.F) {
	add := func(write func(w *writer)) {
		w := newWriter()
		write(w)
		f.Add(w.chunk[recordsStart:], true)
		f.Add(w.chunk[recordsStart:], false)
	}
	add(func(w *writer) { w.event(event(text("one"))); w.event(event(text("two"))) })
	add(func(w *writer) { w.record(func() { w.element(event(text("forwarded")), false) }) })
	add(func(w *writer) {
		w.event(event(value{kind: typeString | flagArray, data: utf16Of("a\x00b")}, value{}, value{kind: typeGUID, data: make([]byte, 16)}))
	})
	f.Fuzz(func(t *testing.T, records []byte, sealed bool) {
		w := newWriter()
		w.u8(records[:min(len(records), chunkSize-recordsStart)]...)
		w.end()
		if !sealed {
			w.file[headerSize+52] ^= 1
		}
		log := w.log(1)
		r, err := NewReader(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		for {
			c, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Text) > chunkLimit+chunkSize*8 {
				t.Fatalf("a chunk of %d bytes", len(c.Text))
			}
			for _, record := range c.Records {
				if record.Offset < headerSize || record.Offset >= int64(len(log)) {
					t.Errorf("record at %d", record.Offset)
				}
				wellFormed(t, record.XML)
			}
		}
	})
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.RawToken(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
}

// BenchmarkRead reads logons (4624) as domain controllers write them, on one core.
func BenchmarkRead(b *testing.B) {
	system := node{name: "System"}
	for _, name := range []string{"EventID", "Version", "Level", "Task", "Opcode", "Keywords", "EventRecordID", "Channel"} {
		system.content = append(system.content, node{name: name, content: []any{value{kind: typeUint32, data: []byte{16, 18, 0, 0}}}})
	}
	data := node{name: "EventData"}
	for _, name := range strings.Fields(logonFields) {
		v := text("DC1.LAB.TEST")
		switch {
		case strings.HasSuffix(name, "Sid"):
			v = value{kind: typeSID, data: append([]byte{1, 5, 0, 0, 0, 0, 0, 5, 21}, make([]byte, 19)...)}
		case strings.HasSuffix(name, "Guid"):
			v = value{kind: typeGUID, data: make([]byte, 16)}
		case strings.HasSuffix(name, "Id"):
			v = value{kind: typeHex64, data: make([]byte, 8)}
		}
		data.content = append(data.content, node{name: "Data", attributes: []attribute{fixed("Name", name)}, content: []any{v}})
	}
	const events = 10_000
	w := newWriter()
	for range events {
		w.event(node{name: "Event", attributes: []attribute{fixed("xmlns", "http://schemas.microsoft.com/win/2004/08/events/event")}, content: []any{system, data}})
	}
	log := w.log(0)
	b.SetBytes(int64(len(log)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(log))
		found := 0
		for err == nil {
			var c *Chunk
			if c, err = r.Next(); err == nil {
				found += len(c.Records)
			}
		}
		if found != events {
			b.Fatalf("%d records: %v", found, err)
		}
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

const logonFields = "SubjectUserSid SubjectUserName SubjectDomainName SubjectLogonId TargetUserSid TargetUserName TargetDomainName " +
	"TargetLogonId LogonType LogonProcessName AuthenticationPackageName WorkstationName LogonGuid TransmittedServices LmPackageName " +
	"KeyLength ProcessId ProcessName IpAddress IpPort ImpersonationLevel RestrictedAdminMode TargetOutboundUserName " +
	"TargetOutboundDomainName VirtualAccount TargetLinkedLogonId ElevatedToken"
