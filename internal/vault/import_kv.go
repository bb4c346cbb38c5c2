// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// readKV reads what "bao kv get -format=json PATH" and "vault kv get" print, which is the
// answer of the API (https://openbao.org/api-docs/secret/kv/kv-v2/, "Read secret version").
// The account is the name of a member; members that are no text are left out.
func readKV(name string, text []byte, like Entrust) ([]Entrust, error) {
	var answer struct {
		Data struct {
			Data     map[string]any  `json:"data"`
			Metadata json.RawMessage `json:"metadata"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Data.Metadata == nil {
		return nil, fmt.Errorf("%w: it is not what a KV engine of version 2 answers: write it with: bao kv get -format=json PATH", tallystick.ErrInvalid) // err may quote a value
	}
	var list []Entrust
	for _, key := range slices.Sorted(maps.Keys(answer.Data.Data)) {
		value, ok := answer.Data.Data[key].(string)
		if !ok {
			continue
		}
		e := like
		e.Account, e.Value, e.Origin = key, driver.NewSecret(value), "kv:"+name+"#"+key
		list = append(list, e)
	}
	return list, nil
}
