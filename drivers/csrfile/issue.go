// SPDX-License-Identifier: Apache-2.0

package csrfile

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
	"github.com/tallystick/tallystick/driver/network"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 1 << 20

// Issue writes the request down, once, and looks whether its certificate is there.
func (i *Issuer) Issue(ctx context.Context, request driver.IssueRequest) (driver.Issued, error) {
	csr, err := issuing.Request(request.CSR)
	if err != nil {
		return driver.Issued{}, err
	}
	if !orderName.MatchString(request.Order) {
		return driver.Issued{}, invalid("%q cannot be the name of a file", request.Order)
	}
	if err := ctx.Err(); err != nil {
		return driver.Issued{}, err
	}
	// Nothing of the directory is followed out of it, whoever may write there.
	root, err := os.OpenRoot(i.directory)
	if err != nil {
		return driver.Issued{}, fmt.Errorf("%w: couldn't open the option directory: %w", tallystick.ErrUnavailable, err)
	}
	defer root.Close()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw})
	if err := i.put(root, request.Order+".csr", text); err != nil {
		return driver.Issued{}, err
	}
	if says, err := read(root, request.Order+".refused"); err == nil {
		return driver.Issued{}, fmt.Errorf("%w: the CA refused the request: %s", tallystick.ErrDenied, network.Clean(strings.TrimSpace(string(says))))
	}
	for _, name := range []string{request.Order + ".crt", request.Order + ".pem"} {
		answer, err := read(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var chain [][]byte
		if err == nil {
			chain, err = certificates(answer)
		}
		if err == nil {
			chain, err = issuing.Order(csr, chain)
		}
		if err != nil {
			// It may be half copied, or be put right: neither a refusal nor the end.
			return driver.Issued{Retry: request.Now().Add(i.every)}, fmt.Errorf("couldn't use %s: %w; put the certificate for %s there",
				filepath.Join(i.directory, name), err, request.Order+".csr")
		}
		return driver.Issued{Chain: chain}, nil
	}
	return driver.Issued{Retry: request.Now().Add(i.every)}, nil
}

// put makes a file with text, whole or not at all. One that is there is right when
// it holds the same, and is left alone in any case.
func (i *Issuer) put(root *os.Root, name string, text []byte) error {
	there, err := read(root, name)
	if err == nil && bytes.Equal(there, text) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%w: %s holds another request", tallystick.ErrConflict, filepath.Join(i.directory, name))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("couldn't read %s: %w", filepath.Join(i.directory, name), err)
	}
	// A link fails where the name is taken; a rename would overwrite.
	staged := "." + name + ".new"
	if err := stage(root, staged, text); err != nil {
		return fmt.Errorf("couldn't write the request: %w", err)
	}
	defer root.Remove(staged)
	if err := root.Link(staged, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("couldn't write the request: %w", err)
	}
	return synced(root, ".")
}

func stage(root *os.Root, name string, text []byte) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

func synced(root *os.Root, name string) error {
	directory, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

// read reads a regular file, and waits for nothing.
func read(root *os.Root, name string) ([]byte, error) {
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return text, err
}

// certificates takes them out of PEM, or of DER.
func certificates(text []byte) ([][]byte, error) {
	if len(text) > 0 && text[0] == 0x30 { // a SEQUENCE, and no character that PEM begins with here
		return [][]byte{text}, nil
	}
	return issuing.PEM(text)
}
