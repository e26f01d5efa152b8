// Enforces the NetworkPolicies of a cluster on one node, with the controller of kube-network-policies: it judges the first
// packet of each connection that netfilter queues.
//
// Its own rules, by which nftables queues packets, take a kernel with CONFIG_NFT_QUEUE. Where that is missing they are
// refused, which it logs, and whoever starts this program has to have packets put into queue 100 in another way.
//
// The cache of the kit knows this program by the version of kube-network-policies: after a change, delete its folder there.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "who it is, and where the API server is")
	node := flag.String("hostname-override", "", "the node's name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		// NRI, by which it learns of pods from the runtime, stays on: 0.8.0 fails without, but not where there is none.
		networkpolicy.Config{NodeName: *node, QueueID: 100},
	)
	if err != nil {
		log.Fatal(err)
	}
	factory.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
