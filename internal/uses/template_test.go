// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTemplatesReadWhatCursorsRead gives a template that has seen other records
// the same texts as a cursor, whole and broken ones.
func TestTemplatesReadWhatCursorsRead(t *testing.T) {
	wanted := func(key string) bool { return key == "a" || key == "b" }
	rapid.Check(t, func(rt *rapid.T) {
		tpl := newTemplate()
		for range rapid.IntRange(1, 40).Draw(rt, "records") {
			text := "{"
			for i := range rapid.IntRange(0, 6).Draw(rt, "members") {
				if i > 0 {
					text += rapid.SampledFrom([]string{",", ", ", ",", ""}).Draw(rt, "comma")
				}
				text += fmt.Sprintf(`"%s":%s`, rapid.SampledFrom([]string{"a", "b", "x", "y", `\u0061`}).Draw(rt, "key"),
					rapid.SampledFrom([]string{"1", `"v"`, "null", `{"a":1}`, `[1,"]"]`, `"`, "tru"}).Draw(rt, "value"))
			}
			text += rapid.SampledFrom([]string{"}", "}", "}", "", " } "}).Draw(rt, "end")
			read := func(object func(c *cursor, member func(string) error) error) (list []string, ok bool) {
				c := &cursor{text: text}
				err := object(c, func(key string) error {
					if !wanted(key) {
						return c.skip()
					}
					value, err := c.raw()
					list = append(list, key+"="+value)
					return err
				})
				if err == nil {
					err = c.end()
				}
				return list, err == nil
			}
			want, ok := read(func(c *cursor, member func(string) error) error { return c.object(member) })
			got, also := read(func(c *cursor, member func(string) error) error { return tpl.object(c, wanted, member) })
			if ok != also || ok && !cmp.Equal(want, got) {
				rt.Fatalf("%s: the cursor has %q, %v and the template %q, %v", text, want, ok, got, also)
			}
		}
	})
}
