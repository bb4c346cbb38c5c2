// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

var update = flag.Bool("update", false, "write the goldens")

// A printer writes what a reader finds, one line each.
type printer struct{ out bytes.Buffer }

func (p *printer) Use(u *tallystick.Use) {
	var b bytes.Buffer
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%s", name, value)
		}
	}
	fmt.Fprintf(&b, "%s %s %s %s %s", u.Time.Format(time.RFC3339Nano), u.Side, u.Level, u.Outcome, strings.Join(u.Credential, ","))
	add("at", u.RelyingParty)
	add("from", u.Address)
	if u.Port != 0 {
		add("port", fmt.Sprint(u.Port))
	}
	if u.Count != 1 {
		add("count", fmt.Sprintf("%d until %s", u.Count, u.Until.Format(time.RFC3339Nano)))
	}
	add("id", u.ID)
	add("source", u.Source)
	if u.Seq != 0 {
		add("seq", fmt.Sprint(u.Seq))
	}
	ids, _ := json.Marshal(u.IDs.Map())
	add("ids", string(ids))
	add("holder", u.Holder)
	add("operation", u.Operation)
	add("resource", u.Resource)
	add("agent", u.Agent)
	add("detail", u.Detail)
	for name, value := range u.Other {
		add("other "+name, value)
	}
	p.out.WriteString(b.String() + "\n")
}

func (p *printer) Change(c *tallystick.Change) {
	text, _ := json.Marshal(c)
	fmt.Fprintf(&p.out, "change %s\n", text)
}

func (p *printer) Close(m tallystick.ClosingMark) {
	fmt.Fprintf(&p.out, "%s %s closed by %s\n", m.Closed.Format(time.RFC3339Nano), m.Side, m.Source)
}

func (p *printer) Lost(u *tallystick.Use) {
	fmt.Fprintf(&p.out, "%s %s lost %d until %s by %s\n", u.Time.Format(time.RFC3339Nano), u.Side, u.Count, u.Until.Format(time.RFC3339Nano), u.Source)
}

// near is when the logs of testdata were written.
var near = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// found returns what is in a file, one line each, with the malformed records.
func found(t testing.TB, path, format string) string {
	t.Helper()
	log, err := Open(path, format, Settings{Near: near}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &printer{}
	read := log.Reader()
	err = log.Blocks(func(b *Block) error {
		b.Each(func(record string, offset int64, line int) {
			if err := read(record, p); err != nil {
				fmt.Fprintf(&p.out, "line %d: %v\n", line, err)
			}
		})
		return nil
	}, func(line int, err error) { fmt.Fprintf(&p.out, "line %d: %v\n", line, err) })
	if err != nil {
		fmt.Fprintln(&p.out, err)
	}
	return p.out.String()
}

// TestGolden reads a log of every format, recognised and named.
func TestGolden(t *testing.T) {
	for _, f := range Formats() {
		t.Run(f.Name, func(t *testing.T) {
			path := filepath.Join("testdata", f.Name+".log")
			log, err := Open(path, "", Settings{Side: tallystick.SideRelying}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			if log.Format.Name != f.Name {
				t.Errorf("%s is recognised as %s", path, log.Format.Name)
			}
			got := found(t, path, f.Name)
			golden := filepath.Join("testdata", f.Name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}
