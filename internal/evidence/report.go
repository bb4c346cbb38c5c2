// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

//go:embed report.html
var reportText string

//go:embed README.txt
var readmeText string

// reportRows is how many targets and events the report shows; a page of more opens
// slowly, and is read by nobody. All are in the other members.
const reportRows = 2000

// A report is what report.html is made of.
type report struct {
	Document
	Verdict string
	Key     string // that the log is verified with
	Made    time.Time
	By      string
	Targets []*row
	More    int // targets that are left out
	Events  []Event
	Missing int64 // events that are left out

	summary *summary
}

// At says where an event was, unless it says so itself; "" where it was nowhere.
func (r report) At(e Event) string {
	one := r.summary.byID[e.Target]
	if one == nil || one.Holder != "" && strings.Contains(e.Text, one.Holder) || one.Relying != "" && strings.Contains(e.Text, one.Relying) {
		return ""
	}
	return one.Where()
}

// writeReport writes report.html: one file without scripts that asks nobody for
// anything, also when it is printed.
func writeReport(w io.Writer, r report) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"time": func(t time.Time) string {
			if t.IsZero() {
				return "–"
			}
			return t.UTC().Format("2006-01-02 15:04:05 UTC")
		},
		"list":    func(words []string) string { return strings.Join(words, ", ") },
		"burnt":   burntWords,
		"visible": visible,
	}).Parse(reportText)
	if err != nil {
		return fmt.Errorf("couldn't read the template of the report: %w", err)
	}
	return t.Execute(w, r)
}

// burntWords say what was burnt.
func burntWords(b tallystick.Burnt) string {
	what := map[string]string{
		tallystick.BurntCredential: "the credential", tallystick.BurntKey: "every credential of the key", tallystick.BurntIssuer: "everything that this CA signed:",
		tallystick.BurntPlace: "every credential whose private half was at", tallystick.BurntWrapping: "every key and entrusted secret that was ever under the wrapping key",
	}[b.Kind]
	if b.Kind == tallystick.BurntEntrusted {
		return b.EntrustedWords()
	}
	return strings.TrimSpace(what + " " + b.Value)
}

// visible shows characters that would reorder or hide what is beside them: what is
// written here was chosen by strangers.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x20 && r != '\n' && r != '\t', r >= 0x7f && r <= 0x9f, r >= 0x200b && r <= 0x200f,
			r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff, r == 0x061c:
			return '\ufffd'
		}
		return r
	}, text)
}
