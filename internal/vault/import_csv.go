// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// csvColumns are those that a CSV may have; account and one of the values are needed.
var csvColumns = [...]string{"customer", "system", "account", "kind", "opens", "holder", "max_age", "value", "value_base64"}

// readCSV reads a CSV (RFC 4180) whose first line names its columns. A cell that is
// empty is as like has it.
func readCSV(name string, text []byte, like Entrust) ([]Entrust, error) {
	rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	head, err := rows.Read()
	if err != nil {
		return nil, csvError(err)
	}
	for i, column := range head {
		if !slices.Contains(csvColumns[:], column) || slices.Contains(head[:i], column) {
			return nil, fmt.Errorf("%w: a column of line 1 is not one of %s, or is there twice", tallystick.ErrInvalid, strings.Join(csvColumns[:], ", "))
		}
	}
	if !slices.Contains(head, "account") || !slices.Contains(head, "value") && !slices.Contains(head, "value_base64") {
		return nil, fmt.Errorf("%w: line 1 has to name the columns account and value, or value_base64", tallystick.ErrInvalid)
	}
	var list []Entrust
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := rows.FieldPos(0)
		e := like
		e.Origin = fmt.Sprintf("csv:%s:%d", name, line)
		for i, cell := range row {
			if err := setCell(&e, head[i], cell); err != nil {
				at, _ := rows.FieldPos(i) // a cell before it may have several lines
				return nil, fmt.Errorf("line %d, column %s: %w", at, head[i], err)
			}
		}
		if e.Value.IsZero() {
			return nil, fmt.Errorf("%w: line %d has no value: leave it out, or entrust an empty value by itself", tallystick.ErrInvalid, line)
		}
		if err := e.check(); err != nil { // of what no cell says
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		list = append(list, e)
	}
}

// csvError keeps what a reader quotes of the file to itself.
func csvError(err error) error {
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%w: line %d is not CSV: %w", tallystick.ErrInvalid, e.Line, e.Err)
	}
	return fmt.Errorf("%w: it is empty", tallystick.ErrInvalid)
}

// setCell takes a cell. An error never has in it what the cell has: a password may be in the wrong
// column.
func setCell(e *Entrust, column, cell string) error {
	if cell == "" {
		return nil
	}
	switch column {
	case "value":
		e.Value = driver.NewSecret(cell)
	case "value_base64":
		value, err := base64.StdEncoding.DecodeString(cell)
		if err != nil {
			return fmt.Errorf("%w: the value is not base64", tallystick.ErrInvalid)
		}
		e.Value = driver.NewSecret(string(value))
	case "max_age":
		age, err := ParseAge(cell)
		if err != nil {
			return fmt.Errorf("%w: it is not an age of at most ten years: write it as 90d or 12h", tallystick.ErrInvalid)
		}
		e.MaxAge = age
	case "kind":
		if e.Kind = cell; !slices.Contains(Kinds(), cell) {
			return fmt.Errorf("%w: it is not one of %s", tallystick.ErrInvalid, strings.Join(Kinds(), ", "))
		}
	case "holder":
		if e.Holder = cell; checkHolder(cell) != nil {
			return fmt.Errorf("%w: it is not a holder: write it as token:7, person:ada or local:root", tallystick.ErrInvalid)
		}
	case "opens":
		e.Opens = cell
		return checkText("text of what it opens", cell, maxText, true)
	default:
		*map[string]*string{"customer": &e.Customer, "system": &e.System, "account": &e.Account}[column] = cell
		return checkText(column, cell, maxWord, false)
	}
	if n := len(e.Value.Reveal()); n > MaxValue {
		return fmt.Errorf("%w: a value has at most %d bytes, and this one has %d", tallystick.ErrInvalid, MaxValue, n)
	}
	return nil
}

// ParseAge reads 90d or 12h. What is not an age is ErrInvalid.
func ParseAge(text string) (time.Duration, error) {
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		age = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || age <= 0 || age > maxAge {
		return 0, fmt.Errorf("%w: %q is not an age of at most ten years: write it as 90d or 12h", tallystick.ErrInvalid, text)
	}
	return age, nil
}
