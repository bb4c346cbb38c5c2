// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An output is where a command writes what was asked for. A file appears under
// its name only when all of it is written, so that half a result never passes
// for a whole one.
type output struct {
	*bufio.Writer
	file *os.File // nil for standard output
	path string   // to give to file; "" when it has its name already
}

// create opens the output of --out; "" and "-" are standard output.
func (p *program) create(path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: bufio.NewWriter(p.out)}, nil
	}
	o := &output{path: path}
	var err error
	info, statErr := os.Stat(path)
	if statErr == nil && !info.Mode().IsRegular() { // a pipe, /dev/stdout
		o.path = ""
		o.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	} else {
		o.file, err = os.CreateTemp(filepath.Dir(path), ".tally-*")
	}
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err // not the name of the temporary file
		}
		return nil, fmt.Errorf("couldn't write to %s: %w", path, err)
	}
	o.Writer = bufio.NewWriter(o.file)
	return o, nil
}

// done writes the rest and gives the file its name.
func (o *output) done() error {
	if err := o.Flush(); err != nil {
		return fmt.Errorf("couldn't write what was found: %w", err)
	}
	if o.file == nil {
		return nil
	}
	file := o.file
	o.file = nil
	temporary := file.Name()
	err := file.Sync()
	if o.path == "" {
		err = nil // pipes do not sync
	} else {
		err = errors.Join(err, file.Chmod(0o644))
	}
	if err = errors.Join(err, file.Close()); err == nil && o.path != "" {
		err = os.Rename(temporary, o.path)
	}
	if err != nil {
		if o.path != "" {
			os.Remove(temporary) // the error that matters is err
		}
		return fmt.Errorf("couldn't write to %s: %w", o.path, err)
	}
	return nil
}

// abandon drops what is not done.
func (o *output) abandon() {
	if o.file == nil {
		return
	}
	o.file.Close() // the file is taken away
	if o.path != "" {
		os.Remove(o.file.Name()) // nothing more can be done about it
	}
}
