// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The members that the tests want, and their values.
var wantedInTests = members{"a": {value: 1}, "b": {value: 2, raw: true}, "in": {value: 3, inside: members{"a": {value: 4}, "in": {value: 5, inside: members{"b": {value: 6}}}}}}

// readWithCursor does what a template does, by a cursor alone.
func readWithCursor(c *cursor, wanted members, in int, values []string, others *[]string, open bool) error {
	return c.object(func(key string) (err error) {
		w, ok := wanted[key]
		if in != 0 && (ok && w.inside == nil || !ok && open) {
			values[in] = "{"
		}
		switch {
		case !ok && open:
			value, err := c.raw()
			if err == nil {
				*others = append(*others, fmt.Sprint(in, key, value))
			}
			return err
		case !ok:
		case w.inside != nil && c.space() == '{':
			return readWithCursor(c, w.inside, w.value, values, others, open)
		case w.inside != nil && open && c.space() != 'n':
			return c.unexpected("a JSON object")
		case w.inside != nil:
		case w.raw:
			values[w.value], err = c.raw()
			return err
		default:
			return c.into(&values[w.value])
		}
		return c.skip()
	})
}

// object draws an object, which may be broken.
func object(t *rapid.T, depth int) string {
	text := "{"
	for i := range rapid.IntRange(0, 5).Draw(t, "members") {
		if i > 0 {
			text += rapid.SampledFrom([]string{",", ",", ", ", ",", ""}).Draw(t, "comma")
		}
		key := rapid.SampledFrom([]string{"a", "b", "x", "y", "in", "in", `\u0061`}).Draw(t, "key")
		value := rapid.SampledFrom([]string{"1", `"v"`, `"v\n"`, `"a long text, longer than a word"`, "null", `{"a":1}`, `[1,"]"]`, `"`, "tru"}).Draw(t, "value")
		if key == "in" && depth < 2 && rapid.IntRange(0, 4).Draw(t, "nested") > 0 {
			value = object(t, depth+1)
		}
		text += fmt.Sprintf(`"%s":%s`, key, value)
	}
	return text + rapid.SampledFrom([]string{"}", "}", "}", "}", "", " } "}).Draw(t, "end")
}

// TestTemplatesReadWhatCursorsRead gives a template that has seen other records
// the same texts as a cursor, whole and broken ones.
func TestTemplatesReadWhatCursorsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		open := rapid.Bool().Draw(rt, "open")
		var others []string
		var other func(int, string, string) error
		if open {
			other = func(in int, key, raw string) error { others = append(others, fmt.Sprint(in, key, raw)); return nil }
		}
		tpl := newTemplate(wantedInTests, other)
		usual := []string{object(rt, 0), object(rt, 0), object(rt, 0)}
		for range rapid.IntRange(1, 80).Draw(rt, "records") {
			text := rapid.SampledFrom(usual).Draw(rt, "usual")
			if rapid.IntRange(0, 5).Draw(rt, "unusual") == 0 {
				text = object(rt, 0)
			}
			read := func(into func(c *cursor, values []string) error) (values [7]string, list []string, ok bool) {
				others = nil
				c := &cursor{text: text}
				err := into(c, values[:])
				if err == nil {
					err = c.end()
				}
				return values, others, err == nil
			}
			want, wantOthers, ok := read(func(c *cursor, values []string) error {
				return readWithCursor(c, wantedInTests, 0, values, &others, open)
			})
			got, gotOthers, also := read(tpl.read)
			if ok != also || ok && !(cmp.Equal(want, got) && cmp.Equal(wantOthers, gotOthers)) {
				rt.Fatalf("%s: the cursor has %q, %q, %v and the template %q, %q, %v", text, want, wantOthers, ok, got, gotOthers, also)
			}
		}
	})
}

// A value that was the same for long is read as part of the text around it, and
// as what it is when it is another.
func TestSteadyValuesAreReadAsTheyAre(t *testing.T) {
	tpl := newTemplate(wantedInTests, nil)
	read := func(a, b int) (values [7]string) {
		c := cursor{text: fmt.Sprintf(`{"x":[],"in":{"a":%d,"in":{"b":"t"}},"b":%d}`, a, b)}
		if err := tpl.read(&c, values[:]); err != nil {
			t.Fatal(err)
		}
		return values
	}
	for i := range 100 {
		read(7, i)
	}
	over := 0
	for _, g := range tpl.first.gaps {
		over = max(over, len(g.over))
	}
	if over != 2 {
		t.Errorf("%d values are part of the text, want the two that are steady", over)
	}
	for _, a := range []int{7, 70, 8, 7} {
		if d := cmp.Diff([7]string{2: "1", 3: "{", 4: fmt.Sprint(a), 5: "{", 6: "t"}, read(a, 1)); d != "" {
			t.Error(d)
		}
	}
}

func TestPlainTextEndsAtQuotesAndBackslashes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.StringOfN(rapid.SampledFrom([]rune("a\x00\x21\x23\x5b\x5dé\"\\")), 0, 40, -1).Draw(rt, "s")
		want := 0
		for want < len(s) && s[want] != '"' && s[want] != '\\' {
			want++
		}
		if got := plainLen(s); got != want {
			rt.Fatalf("%q: %d, want %d", s, got, want)
		}
	})
}
