// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

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
// Only their numbers are told: a file that is named by mistake may hold a secret,
// and misses are shown to everybody who may see the inventory.
func Missing(sink driver.Sink, now func() time.Time) func(BadLine) error {
	return func(b BadLine) error {
		return sink.Missed(tallystick.Miss{
			Place: tallystick.FilePlace(b.File) + tallystick.Place("#L"+strconv.Itoa(b.Line)),
			Error: "not-a-target", Detail: "line " + strconv.Itoa(b.Line) + " of the list is none of the forms of a target", Seen: now(),
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
		if err == nil && strings.HasPrefix(text, "-----BEGIN ") {
			err = invalid("line %d begins a PEM block: this is no list of targets", number)
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
