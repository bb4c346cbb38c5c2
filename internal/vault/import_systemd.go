// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// readDirectory reads a directory of systemd's credentials, a file each (such as
// /etc/credstore; systemd.exec(5), "LoadCredential"). The account is the name of the
// file. Links and what is larger than a value are left out; encrypted ones are taken as they are.
func readDirectory(dir string, like Entrust) ([]Entrust, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Entrust
	for _, file := range files {
		if !file.Type().IsRegular() {
			continue
		}
		e := like
		path := filepath.Join(dir, file.Name())
		info, err := file.Info()
		if err != nil {
			return nil, err
		}
		if info.Size() > MaxValue {
			return nil, fmt.Errorf("%w: %s has more than %d bytes", tallystick.ErrInvalid, path, MaxValue)
		}
		value, err := readBounded(path)
		if err != nil {
			return nil, err
		}
		e.Account, e.Value, e.Origin = file.Name(), driver.NewSecret(string(value)), "systemd:"+path
		clear(value)
		list = append(list, e)
	}
	return list, nil
}
