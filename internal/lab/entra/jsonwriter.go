// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// A jsonWriter writes JSON member by member: a page has a thousand records of
// sixty members, and the emulator is to cost little beside what it is used to measure.
type jsonWriter struct {
	b []byte
	// selected are the members that $select names; nil is all. It counts for the
	// objects at depth 1.
	selected []string
	depth    int
}

func (j *jsonWriter) comma() {
	if n := len(j.b); n > 0 && j.b[n-1] != '{' && j.b[n-1] != '[' && j.b[n-1] != ':' {
		j.b = append(j.b, ',')
	}
}

func (j *jsonWriter) open()      { j.comma(); j.b = append(j.b, '{'); j.depth++ }
func (j *jsonWriter) close()     { j.b = append(j.b, '}'); j.depth-- }
func (j *jsonWriter) openList()  { j.comma(); j.b = append(j.b, '[') }
func (j *jsonWriter) closeList() { j.b = append(j.b, ']') }

// wants says whether a member of the object is asked for.
func (j *jsonWriter) wants(name string) bool {
	return j.depth != 1 || j.selected == nil || slices.Contains(j.selected, name)
}

// name begins a member whose value comes next.
func (j *jsonWriter) name(name string) {
	j.comma()
	j.b = append(j.b, '"')
	j.b = append(append(j.b, name...), '"', ':')
}

func (j *jsonWriter) text(name, value string) {
	if j.wants(name) {
		j.name(name)
		j.string(value)
	}
}

func (j *jsonWriter) textOrNull(name, value string) {
	if value == "" {
		j.null(name)
		return
	}
	j.text(name, value)
}

func (j *jsonWriter) null(name string) { j.raw(name, "null") }

func (j *jsonWriter) bool(name string, value bool) { j.raw(name, strconv.FormatBool(value)) }

func (j *jsonWriter) number(name string, value int) {
	if j.wants(name) {
		j.name(name)
		j.b = strconv.AppendInt(j.b, int64(value), 10)
	}
}

func (j *jsonWriter) time(name string, at time.Time) {
	if j.wants(name) {
		j.name(name)
		j.b = append(at.UTC().AppendFormat(append(j.b, '"'), graphLayout), '"')
	}
}

// address writes a member that is an address.
func (j *jsonWriter) address(name string, a netip.Addr) {
	if j.wants(name) {
		j.name(name)
		j.b = append(a.AppendTo(append(j.b, '"')), '"')
	}
}

// raw writes a member whose value is JSON already.
func (j *jsonWriter) raw(name, value string) {
	if j.wants(name) {
		j.name(name)
		j.b = append(j.b, value...)
	}
}

// guid writes a member that is an identifier.
func (j *jsonWriter) guid(name string, g guid) {
	if j.wants(name) {
		j.name(name)
		j.b = append(g.append(append(j.b, '"')), '"')
	}
}

// strings writes a member that is a list of texts.
func (j *jsonWriter) strings(name string, values []string) {
	if !j.wants(name) {
		return
	}
	j.name(name)
	j.openList()
	for _, v := range values {
		j.comma()
		j.string(v)
	}
	j.closeList()
}

// string writes a text, the usual ones without a detour.
func (j *jsonWriter) string(value string) {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, _ := json.Marshal(value) // a text: it cannot fail
			j.b = append(j.b, text...)
			return
		}
	}
	j.b = append(append(append(j.b, '"'), value...), '"')
}
