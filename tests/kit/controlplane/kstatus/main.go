// Says what kstatus makes of objects: reads a list of them from standard input, as kubectl get --output json prints it,
// and prints an array with the name, the status and the message of each.
//
// The cache of the kit knows this program by the version of cli-utils: after a change, delete its folder there.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type judgement struct {
	Name    string        `json:"name"`
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func main() {
	log.SetFlags(0)
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	var objects unstructured.UnstructuredList
	if err := objects.UnmarshalJSON(input); err != nil {
		log.Fatal(err)
	}
	judgements := []judgement{}
	for i := range objects.Items {
		object := &objects.Items[i]
		result, err := status.Compute(object)
		if err != nil {
			log.Fatalf("%s: %v", object.GetName(), err)
		}
		judgements = append(judgements, judgement{object.GetName(), result.Status, result.Message})
	}
	if err := json.NewEncoder(os.Stdout).Encode(judgements); err != nil {
		log.Fatal(err)
	}
}
