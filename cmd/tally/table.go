// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A table writes rows in columns that are as wide as they need to be.
type table struct {
	out  io.Writer
	rows [][]string
}

// maxCell bounds the width of a column but the last, in characters.
const maxCell = 56

func newTable(out io.Writer, heads ...string) *table {
	return &table{out: out, rows: [][]string{heads}}
}

// row adds a row; what is in the cells may be foreign.
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cell == "" {
			cell = "-"
		}
		if cells[i] = clean(cell); i < len(cells)-1 {
			cells[i] = clip(cells[i], maxCell)
		}
	}
	t.rows = append(t.rows, cells)
}

// write writes the table, unless it has no rows.
func (t *table) write() error {
	if len(t.rows) == 1 {
		return nil
	}
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(t.out, line.String()); err != nil {
			return err
		}
	}
	return nil
}
