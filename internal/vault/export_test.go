// SPDX-License-Identifier: Apache-2.0

package vault

// Read reads a file of a format, for the fuzzer.
func Read(format string, text []byte, like Entrust) ([]Entrust, error) {
	return map[string]func(string, []byte, Entrust) ([]Entrust, error){
		FormatCSV: readCSV, FormatEnv: readEnv, FormatKubernetes: readKubernetes, FormatKV: readKV,
	}[format]("old", text, like)
}
