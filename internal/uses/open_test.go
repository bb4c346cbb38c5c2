// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/tallystick/tallystick"
)

const oneUse = `{"v":1,"source":"a","seq":%d,"side":"holder","time":"2026-11-20T10:15:30Z","credential":["x5t:00"]}`

// write writes a file and returns its path.
func write(t testing.TB, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressionIsSeenByContent(t *testing.T) {
	plain, err := os.ReadFile("testdata/use.log")
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := found(t, "testdata/use.log", "")
	for name, packed := range map[string][]byte{"gzip": gzipped(t, string(plain)), "zstd": encoder.EncodeAll(plain, nil)} {
		if d := cmp.Diff(want, found(t, write(t, packed), "")); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestTruncatedGzipIsToldAndReadAsFarAsItGoes(t *testing.T) {
	var lines strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&lines, oneUse+"\n", i*7919)
	}
	whole := gzipped(t, lines.String())
	got := found(t, write(t, whole[:len(whole)/2]), "")
	if n := strings.Count(got, "source=a"); n < 100 || n >= 5000 {
		t.Errorf("%d uses were read of half the file", n)
	}
	if !strings.Contains(got, "to its end: its compressed data ends in the middle") {
		t.Errorf("the end is not told:\n%s", got[max(0, len(got)-300):])
	}
}

func TestLongLinesAreBounded(t *testing.T) {
	long := strings.Repeat("x", MaxRecord+3<<20)
	for name, text := range map[string]string{
		"line":        fmt.Sprintf(oneUse, 1) + "\n" + long + "\n" + fmt.Sprintf(oneUse, 2) + "\n",
		"last line":   fmt.Sprintf(oneUse, 1) + "\n" + fmt.Sprintf(oneUse, 2) + "\n" + long,
		"in an array": "[" + fmt.Sprintf(oneUse, 1) + ",\n{\"a\":\"" + long + "\"},\n" + fmt.Sprintf(oneUse, 2) + "\n]",
	} {
		got := found(t, write(t, []byte(text)), "")
		if strings.Count(got, "source=a") != 2 || !strings.Contains(got, "expected a record of at most 16 MiB") {
			t.Errorf("%s: %.600s", name, got)
		}
	}
}

func TestShapesOfJSON(t *testing.T) {
	one, two := fmt.Sprintf(oneUse, 1), fmt.Sprintf(oneUse, 2)
	want := found(t, write(t, []byte(one+"\n"+two+"\n")), "")
	for name, text := range map[string]string{
		"without a last newline": one + "\n" + two,
		"Windows lines":          one + "\r\n\r\n" + two + "\r\n",
		"array":                  "[" + one + "," + two + "]",
		"array over lines":       "[\n  " + one + ",\n  " + two + "\n]\n",
		"page":                   `{"@odata.context":"x","value":[` + one + "," + two + `],"@odata.nextLink":"y"}`,
		"page over lines":        `{"@odata.context":"x","value":[` + "\n" + one + ",\n" + two + "\n]}\n",
		"pages":                  `{"value":[` + one + `]}` + "\n" + `{"value":[` + two + `]}`,
		"pretty":                 strings.ReplaceAll(one, ",", ",\n  ") + "\n" + strings.ReplaceAll(two, ",", ",\n  "),
		"byte order mark":        "\ufeff" + one + "\n" + two,
		"marked array":           "\ufeff[" + one + "," + two + "]",
	} {
		if d := cmp.Diff(want, found(t, write(t, []byte(text)), "")); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestBadRecordsDoNotStopTheRest(t *testing.T) {
	text := "[" + fmt.Sprintf(oneUse, 1) + ",\n7,\n{\"v\":1,,},\n" + fmt.Sprintf(oneUse, 2) + ",\n{\"v\":1"
	got := found(t, write(t, []byte(text)), "use")
	if strings.Count(got, "source=a") != 2 || strings.Count(got, "line ") != 3 {
		t.Errorf("%s", got)
	}
}

func TestOddBytes(t *testing.T) {
	bad := strings.Replace(fmt.Sprintf(oneUse, 1), `"v":1`, "\"v\":1,\"agent\":\"\xff\xfe\"", 1)
	if got := found(t, write(t, []byte(bad+"\n\xff\xfe\n\x00\x00\n")), ""); strings.Count(got, "source=a") != 1 || strings.Count(got, "line ") != 2 {
		t.Errorf("invalid UTF-8 hides a record or a mistake:\n%q", got)
	}
	years := strings.NewReplacer("2026-11-20", "0000-01-01").Replace(fmt.Sprintf(oneUse, 1)) + "\n" + strings.NewReplacer("2026-11-20", "9999-12-31").Replace(fmt.Sprintf(oneUse, 2))
	if got := found(t, write(t, []byte(years)), ""); !strings.Contains(got, "0000-01-01T10:15:30Z") || !strings.Contains(got, "9999-12-31T10:15:30Z") {
		t.Errorf("%s", got)
	}
	deep := "{\"v\":1,\"time\":\"x\",\"a\":" + strings.Repeat("[", 100_000) + "\n"
	if got := found(t, write(t, []byte(deep)), "use"); !strings.Contains(got, "line 1: ") {
		t.Errorf("%s", got)
	}
}

func TestEmptyFilesAreEmptyBooks(t *testing.T) {
	for _, text := range []string{"", "\n \n", "[]", `{"value":[]}`} {
		if got := found(t, write(t, []byte(text)), ""); got != "" {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestUnknownFormats(t *testing.T) {
	for _, text := range []string{"hello\n", `{"a":1}` + "\n", "a,b,c\n1,2,3\n", "\x7fELF\x02"} {
		if _, err := Open(write(t, []byte(text)), "", Settings{}, nil); !errors.Is(err, ErrUnknownFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Open(write(t, nil), "xml", Settings{}, nil); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a format of another name: %v", err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no: such\nfile")
	for path, why := range map[string]error{missing: fs.ErrNotExist, t.TempDir(): syscall.EISDIR, write(t, []byte("\x1f\x8bnot gzip")): nil} {
		_, err := Open(path, "", Settings{}, nil)
		unreadable, ok := errors.AsType[*fs.PathError](err)
		if !ok || unreadable.Path != path || why != nil && !errors.Is(err, why) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%q: %v", path, err)
		}
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	if _, err := Open("-", "", Settings{}, strings.NewReader("{}")); !errors.Is(err, ErrTemporary) {
		t.Errorf("without a place for temporary files: %v", err)
	} else if _, ok := errors.AsType[*fs.PathError](err); ok {
		t.Errorf("%v looks like a file that cannot be read", err)
	}
}

// TestDetails reads every record again, of every format.
func TestDetails(t *testing.T) {
	for _, f := range Formats() {
		log, err := Open(filepath.Join("testdata", f.Name+".log"), "", Settings{Near: near}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		var want, got printer
		var offsets []int64
		read := log.Reader()
		var at int64
		once := sinkFunc(func(u *tallystick.Use) { want.Use(u); offsets = append(offsets, at) })
		err = log.Blocks(func(b *Block) error {
			b.Each(func(record string, offset int64, _ int) {
				at = offset
				_ = read(record, once) // malformed ones have no details
			})
			return nil
		}, func(int, error) {})
		if err != nil {
			t.Fatal(err)
		}
		err = log.Details(offsets, func(_ int64, u *tallystick.Use) error { got.Use(u); return nil })
		if d := cmp.Diff(want.out.String(), got.out.String()); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", f.Name, err, d)
		}
	}
}

type sinkFunc func(*tallystick.Use)

func (f sinkFunc) Use(u *tallystick.Use)      { f(u) }
func (sinkFunc) Close(tallystick.ClosingMark) {}
func (sinkFunc) Lost(*tallystick.Use)         {}

// FuzzFormats reads anything as every format: it must end, and not panic.
func FuzzFormats(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.log")
	if err != nil || len(paths) == 0 {
		f.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		for line := range bytes.Lines(text) {
			f.Add(line)
		}
	}
	sink := sinkFunc(func(u *tallystick.Use) {
		if u.Count < 1 || u.Until.Before(u.Time) {
			panic(fmt.Sprintf("%+v", u))
		}
	})
	f.Fuzz(func(t *testing.T, text []byte) {
		var records []string
		take := func(record string, _ int64, _ int) { records = append(records, strings.Clone(record)) }
		each := func(b *Block) error { b.Each(take); return nil }
		ignore := func(int, error) {}
		eachEvent(string(text), take)
		(&Block{text: string(text)}).Each(take)
		if err := newElements(bytes.NewReader(text), each, ignore).run(); err != nil {
			t.Fatal(err)
		}
		for _, format := range Formats() {
			read := format.reader(Settings{Near: near})
			for _, record := range records {
				format.is(record)
				_ = read(record, sink)
			}
		}
	})
}
