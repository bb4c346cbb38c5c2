// SPDX-License-Identifier: Apache-2.0

package truststore

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// Bounds of one store. The largest one of a distribution is below 1 MiB and
// has fewer than 500 files.
const (
	maxSize  = 16 << 20 // bytes of one file
	maxFiles = 10_000   // entries of a directory
)

// bundle is what Debian's update-ca-certificates(8) calls the whole of a
// directory.
const bundle = "ca-certificates.crt"

// hashed is a name under which OpenSSL looks a certificate up by its subject,
// X509_LOOKUP_hash_dir(3).
var hashed = regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)

// files returns the files of a store, sorted: path itself, or those of the
// directory path that the package comment names.
func files(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	directory, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	names, err := directory.Readdirnames(maxFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(names) > maxFiles {
		return nil, &lookError{word: "too-large", detail: fmt.Sprintf("%s has more than %d files", path, maxFiles)}
	}
	chosen := choose(names)
	for i, name := range chosen {
		chosen[i] = filepath.Join(path, name)
	}
	return chosen, nil
}

// choose picks the names that make a directory a trust store.
func choose(names []string) []string {
	isStore := func(name string) bool { return name == bundle || hashed.MatchString(name) }
	if !slices.ContainsFunc(names, isStore) {
		isStore = func(name string) bool {
			return slices.Contains([]string{".pem", ".crt", ".cer"}, strings.ToLower(filepath.Ext(name)))
		}
	}
	chosen := slices.DeleteFunc(names, func(name string) bool { return !isStore(name) })
	slices.Sort(chosen)
	return chosen
}

// read returns the contents of a regular file of at most maxSize bytes.
func read(path string) ([]byte, error) {
	// O_NONBLOCK keeps a named pipe from holding the driver up.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &lookError{word: "not-a-file", detail: path + " is not a regular file"}
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1)) // whatever Stat says: files in /proc have no size
	if err == nil && len(data) > maxSize {
		err = &lookError{word: "too-large", detail: fmt.Sprintf("%s is larger than %d bytes", path, maxSize)}
	}
	return data, err
}
