// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A BadLine is a line of a list that is no target.
type BadLine struct {
	File string
	Line int // the first is 1
	Err  error
}

// Missing returns what reports bad lines to sink as misses, for Grammar.Parse.
func Missing(sink driver.Sink, now func() time.Time) func(BadLine) error {
	return func(b BadLine) error {
		return sink.Missed(tallystick.Miss{
			Place: tallystick.FilePlace(b.File) + tallystick.Place("#L"+strconv.Itoa(b.Line)),
			Error: "not-a-target", Detail: Clean(b.Err.Error()), Seen: now(),
		})
	}
}

// maxLine bounds a line of a list in bytes; no target is near it.
const maxLine = 4096

var errLong = errors.New("the line is longer than any target")

// Lines calls fn for each line of a list that counts (neither empty nor a
// comment) with its number, trimmed and cut at 4 KiB; long says that it was
// cut. It stops at the first error of fn or when ctx ends.
func Lines(ctx context.Context, list io.Reader, fn func(number int, text string, long bool) error) error {
	reader := bufio.NewReaderSize(list, maxLine)
	for number := 1; ; number++ {
		line, more, err := reader.ReadLine()
		long := more
		text := strings.TrimSpace(strings.TrimPrefix(string(line), "\ufeff"))
		for more && err == nil {
			_, more, err = reader.ReadLine()
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && text != "" && text[0] != '#' {
			err = fn(number, text, long)
		}
		if err != nil {
			return err
		}
	}
}

// readFile adds the targets of a file.
func (g Grammar) readFile(ctx context.Context, name string, b *builder, bad func(BadLine) error) error {
	file, err := os.Open(name)
	if err != nil {
		return invalid("couldn't open the list of targets: %w", err)
	}
	defer file.Close()
	return Lines(ctx, file, func(number int, text string, long bool) error {
		s, err := g.span(text)
		if long {
			err = errLong
		}
		if err != nil {
			return bad(BadLine{File: name, Line: number, Err: err})
		}
		return b.add(s, "")
	})
}

// Clean makes foreign text fit for a terminal and a log: no control
// characters, at most 300 bytes.
func Clean(text string) string {
	const most = 300
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text[:min(len(text), 4*most)])
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return text
}

// quote quotes a target in an error.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return fmt.Sprintf("%q", text)
}
