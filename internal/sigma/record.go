// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Record is a record of a log as it was written, with its members by name.
type Record struct {
	// Sources are what it is an event of, see NewRecord.
	Sources []LogSource
	// Time is when it happened, zero when that is not known.
	Time time.Time

	fields map[string][]string // by their names in lower case
	texts  []string            // all values, in their order
}

// maxNested and maxValuesOfRecord bound what is read of a record; the rest of a deeper
// or larger one is one text that only keywords see.
const (
	maxNested         = 32
	maxValuesOfRecord = 20_000
)

// NewRecord reads a record: JSON, an XML element Event of Windows, or a line of
// text. What it is an event of is found by format, a name of package uses or "",
// and by its members.
func NewRecord(text, format string) *Record {
	r := recordOf(text)
	r.Sources = sourcesOf(r, format)
	r.Time = r.time()
	return r
}

// A Reader reads the records of one file in their order.
type Reader struct {
	format   string
	columns  []string // of Zeek's tables
	services []LogSource
}

// NewReader returns a reader of a format of package uses, or of any when it is "".
func NewReader(format string) *Reader { return &Reader{format: format} }

// Read reads a record, or returns nil for a line that is none.
func (r *Reader) Read(text string) *Record {
	if r.format != "zeek-tsv" {
		return NewRecord(text, r.format)
	}
	switch head, rest, _ := strings.Cut(text, "\t"); {
	case head == "#fields":
		r.columns = strings.Split(strings.ToLower(rest), "\t")
		return nil
	case head == "#path":
		r.services = []LogSource{{Product: "zeek", Service: strings.ToLower(strings.TrimSpace(rest))}}
		return nil
	case strings.HasPrefix(head, "#"):
		return nil
	}
	record := &Record{fields: map[string][]string{}, Sources: r.services}
	for i, cell := range strings.Split(text, "\t") {
		if i < len(r.columns) && cell != "-" && cell != "(empty)" {
			record.add(r.columns[i], cell)
		}
	}
	if record.Sources == nil {
		record.Sources = sourcesOfFormat(r.format)
	}
	record.Time = record.time()
	return record
}

// ID returns what the log calls the record, or "".
func (r *Record) ID() string {
	for _, name := range []string{"id", "properties.id", "eventrecordid", "uid", "requestid", "request_id", "eventid"} {
		if id := r.first(name); id != "" {
			return id
		}
	}
	return ""
}

func recordOf(text string) *Record {
	r := &Record{fields: map[string][]string{}}
	trimmed := strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(trimmed, "<Event") && r.readXML(trimmed):
		return r
	case strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") || strings.HasPrefix(trimmed, `"`):
		if value, ok := decode(trimmed); ok {
			r.flatten("", value, 0)
			return r
		}
	}
	r.add("message", text)
	return r
}

// decode reads JSON, with numbers as they are written.
func decode(text string) (value any, ok bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(&value)
	return value, err == nil
}

// add adds a value of a field.
func (r *Record) add(name, value string) {
	if len(r.texts) >= maxValuesOfRecord {
		return
	}
	r.texts = append(r.texts, value)
	r.fields[name] = append(r.fields[name], value)
}

// flatten adds a JSON value: members of an object behind a dot, and those of all
// elements of an array under one name.
func (r *Record) flatten(name string, value any, depth int) {
	if depth > maxNested {
		text, _ := json.Marshal(value) // it was read from JSON, and can be written as such
		r.add(name, string(text))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for key, one := range value {
			key = strings.ToLower(key)
			if name != "" {
				key = name + "." + key
			}
			r.flatten(key, one, depth+1)
		}
	case []any:
		for _, one := range value {
			r.flatten(name, one, depth+1)
		}
	case string:
		r.add(name, value)
		// Columns of Log Analytics and AuditData hold JSON as text.
		if name != "" && (strings.HasPrefix(value, `{"`) || strings.HasPrefix(value, `[{"`)) && len(r.texts) < maxValuesOfRecord {
			if inner, ok := decode(value); ok {
				r.flatten(name, inner, depth+1)
			}
		}
	case json.Number:
		r.add(name, value.String())
	case bool:
		r.add(name, map[bool]string{true: "true", false: "false"}[value])
	case nil:
		if _, ok := r.fields[name]; !ok {
			r.fields[name] = nil
		}
	}
}

// readXML reads an element Event: Data under its name, all others under theirs,
// and attributes behind the name of their element and "_".
func (r *Record) readXML(text string) bool {
	decoder := xml.NewDecoder(strings.NewReader(text))
	var path []string
	name, value := "", ""
	for {
		t, err := decoder.Token()
		if err != nil {
			return len(path) == 0 && len(r.texts) > 0
		}
		switch t := t.(type) {
		case xml.StartElement:
			name, value = strings.ToLower(t.Name.Local), ""
			path = append(path, name)
			for _, a := range t.Attr {
				switch {
				case name == "data" && a.Name.Local == "Name":
					name = strings.ToLower(a.Value)
				case a.Name.Local != "xmlns":
					r.add(strings.ToLower(t.Name.Local+"_"+a.Name.Local), a.Value)
				}
			}
			if len(path) > maxNested {
				return false
			}
		case xml.CharData:
			value += string(t)
		case xml.EndElement:
			if name != "" && (strings.TrimSpace(value) != "" || path[len(path)-1] == "data") {
				r.add(name, value)
			}
			name, path = "", path[:len(path)-1]
		}
	}
}

// Field implements Event.
func (r *Record) Field(name string) ([]string, bool) {
	values, ok := r.fields[name]
	return values, ok
}

// Each implements Event.
func (r *Record) Each(do func(string)) {
	for _, text := range r.texts {
		do(text)
	}
}

// LogSources implements Event.
func (r *Record) LogSources() []LogSource { return r.Sources }

// time returns the first member that is known to say when it happened.
func (r *Record) time() time.Time {
	for _, name := range []string{"time", "createddatetime", "activitydatetime", "timegenerated", "timegenerated [utc]", "eventtime", "creationtime",
		"detecteddatetime", "eventtimestamp", "timecreated_systemtime", "systemtime", "@timestamp", "timecreated", "utctime", "timestamp", "ts"} {
		for _, value := range r.fields[name] {
			if at, ok := readTime(value); ok {
				return at.UTC()
			}
		}
	}
	return time.Time{}
}

// rawMember looks for a name in members that are JSON each.
func rawMember(members map[string]string, name string) ([]string, bool) {
	for key, text := range members {
		key = strings.ToLower(key)
		if key != name && !strings.HasPrefix(name, key+".") {
			continue
		}
		r := &Record{fields: map[string][]string{}}
		value, ok := decode(text)
		if !ok {
			value = text
		}
		r.flatten(key, value, 0)
		if values, ok := r.fields[name]; ok {
			return values, true
		}
	}
	return nil, false
}

// flat adds every member under its last name, and under its last two with "_"
// between them: exports of Windows events agree in the names and differ in what
// is around them. Of several with one name the outermost counts.
func (r *Record) flat() {
	names := slices.Collect(maps.Keys(r.fields))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(strings.Count(a, ".")-strings.Count(b, "."), strings.Compare(a, b))
	})
	for _, name := range names {
		var kept []string
		for _, part := range strings.Split(name, ".") {
			if part != "#attributes" && part != "#text" {
				kept = append(kept, part)
			}
		}
		for n := 1; n <= min(2, len(kept)); n++ {
			// "strip all spaces" ("Field Usage" in the specification)
			short := strings.ReplaceAll(strings.Join(kept[len(kept)-n:], "_"), " ", "")
			if _, ok := r.fields[short]; !ok {
				r.fields[short] = r.fields[name]
			}
		}
	}
}
