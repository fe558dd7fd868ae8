"""Questions and answers on the mesh itself, in the words of its design."""

from __future__ import annotations

from models.spark.text.topic import Topic

MESH = (
    Topic(
        "mesh",
        "inference-mesh",
        (
            "What is this mesh?",
            "What is an inference mesh?",
            "Tell me what this project does.",
            "What does this software do?",
            "Describe the mesh.",
            "What am I looking at here?",
            "Give me an overview of the mesh.",
        ),
        ("So what does this mesh thing do?", "Could you describe this project for me?"),
        "Inference-mesh sends each request to whichever machine of yours has room for it. "
        "Requests travel over NATS to edge workers, and a cloud worker helps only when it must.",
    ),
    Topic(
        "why",
        "",
        (
            "Why does this mesh exist?",
            "Why should I use the mesh?",
            "What is the mesh good for?",
            "What problem does the mesh solve?",
            "Why not just pay for a cloud API?",
            "What is the benefit of the mesh?",
            "Which advantage do I get from the mesh?",
        ),
        ("What is the point of using this mesh?", "Why would anybody want the mesh?"),
        "You stop paying per token for work that your own machines can do. "
        "The mesh adds failover, deadlines and a data-stays-here promise that the broker enforces.",
    ),
    Topic(
        "start",
        "mesh up",
        (
            "How do I start the mesh?",
            "How do I start everything on one machine?",
            "Which command starts the mesh?",
            "How do I run the mesh?",
            "How can I get started?",
            "What does make up do?",
            "How do I launch the mesh on my laptop?",
            "How do I bring the mesh up?",
        ),
        ("What do I type to start the mesh?", "How can I launch everything on one computer?"),
        "Run make up, which calls mesh up. "
        "It starts the broker, a gateway and a worker on one machine "
        "and prints a curl line to try.",
    ),
    Topic(
        "add_worker",
        "mesh worker",
        (
            "How do I add a worker?",
            "How do I add another machine?",
            "How do I scale out?",
            "How do I connect a second laptop?",
            "Which command starts a worker?",
            "How can another computer join the mesh?",
            "How do I get more capacity?",
            "How do I start an edge worker?",
        ),
        ("How can I add one more machine to the mesh?", "What command adds a new worker?"),
        "Run mesh worker --nats URL --creds FILE --model PATH on the new machine. "
        "It advertises its capacity and takes load at once.",
    ),
    Topic(
        "cloud_command",
        "mesh cloud",
        (
            "How do I add a cloud fallback?",
            "How do I start a cloud worker?",
            "How do I connect a cloud provider?",
            "Which command adds the cloud?",
            "How do I set up the cloud worker?",
            "How can I use OpenAI as a fallback?",
        ),
        ("What do I run to get a cloud fallback?", "How can I set up a cloud provider?"),
        "Run mesh cloud --upstream URL --api-key-env VAR. "
        "The cloud worker is used only when the edge cannot answer in time.",
    ),
    Topic(
        "cloud_worker",
        "a cloud worker",
        (
            "What does the cloud worker do?",
            "Explain the role of the cloud worker.",
            "Where does the cloud API key live?",
            "Who holds the API key of the cloud?",
            "How does the cloud worker work?",
        ),
        ("What job has the cloud worker?", "On which part does the cloud key live?"),
        "A cloud worker passes requests on to an OpenAI-compatible API over HTTPS. "
        "The API key lives only there, behind a circuit breaker and a spend cap.",
    ),
    Topic(
        "policy",
        "a policy",
        (
            "Which policies are there?",
            "What policies can I choose?",
            "How do I set the policy?",
            "What does x-mesh-policy do?",
            "Tell me about policies.",
            "How do I choose between edge and cloud?",
            "List the policies of the mesh.",
        ),
        ("Which policies can a request have?", "How can I choose the policy?"),
        "The policies are edge-only, edge-first and cloud-only. "
        "Set one with the x-mesh-policy header; edge-first is the default.",
    ),
    Topic(
        "edge_only",
        "edge-only",
        (
            "What does edge-only mean?",
            "What does the policy edge-only do?",
            "How do I keep a request local?",
            "How do I forbid the cloud?",
            "How do I make sure that nothing goes to the cloud?",
            "Explain the edge-only policy.",
        ),
        ("What happens with the policy edge-only?", "How can I forbid the cloud for a request?"),
        "Edge-only means that a request never leaves your own machines. "
        "If no edge worker can take it, you get an error and not a cloud answer.",
    ),
    Topic(
        "edge_first",
        "edge-first",
        (
            "What does edge-first mean?",
            "What does the policy edge-first do?",
            "Which policy is the default?",
            "What is the default policy?",
            "Explain the edge-first policy.",
            "Which policy is used if I set none?",
        ),
        ("What happens with the policy edge-first?", "Tell me the default policy."),
        "Edge-first is the default policy: your machines answer first. "
        "The cloud steps in when they are full, gone or too slow for the deadline.",
    ),
    Topic(
        "cloud_only",
        "cloud-only",
        (
            "What does cloud-only mean?",
            "What does the policy cloud-only do?",
            "How do I send a request straight to the cloud?",
            "How do I skip the edge?",
            "Explain the cloud-only policy.",
            "How do I always use the cloud?",
        ),
        ("What happens with the policy cloud-only?", "How can I skip the edge workers?"),
        "Cloud-only sends the request straight to a cloud worker. "
        "Edge workers are not asked at all.",
    ),
    Topic(
        "deadline",
        "a deadline",
        (
            "How do I set a deadline?",
            "What does x-mesh-deadline-ms do?",
            "What is x-mesh-deadline-ms?",
            "How do deadlines work?",
            "How do I limit the time of a request?",
            "Which header sets the deadline?",
            "How do I tell the mesh that I am in a hurry?",
        ),
        ("Which header gives a request a deadline?", "How can I set a time limit?"),
        "Set the header x-mesh-deadline-ms to the milliseconds you can wait. "
        "If the edge would miss the deadline, the cloud takes over; expired work stops.",
    ),
    Topic(
        "deadline_travel",
        "",
        (
            "How do deadlines travel?",
            "Why do the clocks not need to agree?",
            "Do my machines need the same clock?",
            "Is a deadline a time of day?",
            "Do the clocks of the machines have to match?",
        ),
        ("Must all the clocks agree?", "In which form does a deadline travel?"),
        "Deadlines travel as remaining milliseconds, so clocks need not agree. "
        "They are checked at admission, in the queue and at every decode step.",
    ),
    Topic(
        "tier",
        "x-mesh-tier",
        (
            "What does x-mesh-tier tell me?",
            "How do I see whether the edge or the cloud answered?",
            "Which header names the tier?",
            "How do I know if the cloud was used?",
            "Where did my answer come from?",
            "Tell me about the x-mesh-tier header.",
        ),
        ("What is the x-mesh-tier header for?", "How can I see if the cloud answered?"),
        "The answer's header x-mesh-tier says edge or cloud. "
        "x-mesh-worker names the worker and x-mesh-fallback gives the reason of a fallback.",
    ),
    Topic(
        "headers",
        "",
        (
            "Which headers does the mesh send?",
            "Which headers come back with an answer?",
            "List the response headers.",
            "What headers does an answer carry?",
            "Which x-mesh headers are in a reply?",
        ),
        ("What headers will I find in a response?", "Which response headers are there?"),
        "Answers carry x-mesh-tier, x-mesh-worker, x-mesh-fallback and x-request-id. "
        "x-mesh-fallback is there only if the cloud had to help.",
    ),
    Topic(
        "fallback_reasons",
        "",
        (
            "When does a request go to the cloud?",
            "Why would a request overflow?",
            "List the overflow reasons.",
            "Which reasons send a request to the cloud?",
            "What are the reasons for a fallback?",
            "What does x-mesh-fallback contain?",
            "When is the cloud used?",
        ),
        ("Which overflow reasons exist?", "When will the cloud be used?"),
        "A request overflows for one of these reasons: no_model, deadline, queue_depth, wait, "
        "hedge or edge_failed. The reason is recorded in x-mesh-fallback.",
    ),
    Topic(
        "no_model",
        "no_model",
        (
            "What does no_model mean?",
            "What does the reason no_model tell me?",
            "Why do I see no_model?",
            "Explain the overflow reason no_model.",
            "My fallback says no_model, why?",
        ),
        ("What does it mean when the fallback is no_model?", "Why do I get no_model?"),
        "no_model means that no edge worker has the model or a context that fits. "
        "Start a worker with that model to keep such requests local.",
    ),
    Topic(
        "reason_deadline",
        "the overflow reason deadline",
        (
            "What does the overflow reason deadline mean?",
            "Why does the fallback say deadline?",
            "Explain the fallback reason deadline.",
            "My x-mesh-fallback says deadline, why?",
            "When is deadline given as the reason?",
        ),
        ("What does the fallback reason deadline mean?", "Why is my fallback reason deadline?"),
        "It means that the best predicted finish on the edge misses the deadline. "
        "The cloud was predicted to make it.",
    ),
    Topic(
        "queue_depth",
        "queue_depth",
        (
            "What does queue_depth mean?",
            "What does the reason queue_depth tell me?",
            "Why do I see queue_depth?",
            "Explain the overflow reason queue_depth.",
            "My fallback says queue_depth, why?",
        ),
        ("What does it mean when the fallback is queue_depth?", "Why do I get queue_depth?"),
        "queue_depth means that too many requests are waiting for the model. "
        "The threshold is the total number of slots unless you change it.",
    ),
    Topic(
        "reason_wait",
        "the overflow reason wait",
        (
            "What does the overflow reason wait mean?",
            "Why does the fallback say wait?",
            "Explain the fallback reason wait.",
            "My x-mesh-fallback says wait, why?",
            "When is wait given as the reason?",
        ),
        ("What does the fallback reason wait mean?", "Why is my fallback reason wait?"),
        "It means that the request waited longer than its share of the deadline. "
        "Then the cloud takes it.",
    ),
    Topic(
        "hedge",
        "a hedge",
        (
            "What does hedge mean?",
            "What does the reason hedge tell me?",
            "Why do I see hedge?",
            "Explain the overflow reason hedge.",
            "My fallback says hedge, why?",
            "What is hedging?",
        ),
        ("What does it mean when the fallback is hedge?", "Why do I get hedge?"),
        "A hedge starts the cloud too when an accepted edge attempt has produced nothing. "
        "The first frame wins and the loser is cancelled.",
    ),
    Topic(
        "edge_failed",
        "edge_failed",
        (
            "What does edge_failed mean?",
            "What does the reason edge_failed tell me?",
            "Why do I see edge_failed?",
            "Explain the overflow reason edge_failed.",
            "My fallback says edge_failed, why?",
        ),
        ("What does it mean when the fallback is edge_failed?", "Why do I get edge_failed?"),
        "edge_failed means that the edge attempts are used up. "
        "The workers that tried the request died or failed, so the cloud took it.",
    ),
    Topic(
        "base_url",
        "base_url",
        (
            "How do I use the OpenAI client?",
            "How do I connect an OpenAI client?",
            "Can I use my OpenAI code with the mesh?",
            "What do I change in my OpenAI client?",
            "How do I call the mesh from Python?",
            "Is the mesh compatible with OpenAI?",
            "Which base URL do I use?",
            "How do I point the OpenAI library at the mesh?",
        ),
        ("What must I change in my OpenAI code?", "How can I use the OpenAI library here?"),
        "Change one line: set base_url to http://127.0.0.1:8080/v1. "
        "Your OpenAI client then talks to the mesh without further changes.",
    ),
    Topic(
        "real_model",
        "",
        (
            "How do I use a real model?",
            "How do I load a bigger model?",
            "How do I run my own GGUF file?",
            "Can I use another model than spark?",
            "How do I change the model?",
            "How do I get better answers?",
            "Where do I put my model file?",
            "How do I use a larger model?",
        ),
        ("Can I run a real model instead?", "How can I load my own GGUF model?"),
        "Start it with --model path/to/model.gguf. "
        "Any GGUF file that llama.cpp can load will do; spark is only the demo.",
    ),
    Topic(
        "gguf",
        "GGUF",
        (
            "What is a GGUF file?",
            "What does GGUF stand for?",
            "Which model format does the mesh use?",
            "Which file format do models have?",
            "Explain GGUF.",
        ),
        ("What kind of file is a GGUF?", "In which format are the models?"),
        "GGUF is the model file format of llama.cpp. "
        "One file holds the weights, the tokenizer and the chat template.",
    ),
    Topic(
        "llama_cpp",
        "llama.cpp",
        (
            "Which engine runs the models?",
            "What does llama.cpp do here?",
            "How are models executed?",
            "What runs the model on a worker?",
            "Explain llama.cpp.",
            "Which inference engine do you use?",
        ),
        ("What engine is used on the workers?", "Tell me what runs the models."),
        "llama.cpp is the engine that runs models on edge workers. "
        "It needs no GPU and reads GGUF files.",
    ),
    Topic(
        "nats",
        "NATS",
        (
            "Why does the mesh use NATS?",
            "What is NATS used for?",
            "Which message bus is used?",
            "What carries the messages?",
            "Explain NATS.",
            "How do the parts talk to each other?",
        ),
        ("What role does NATS play?", "Which message bus do you use?"),
        "NATS is the message bus that carries every request and every answer. "
        "It is small and fast, and its accounts keep data where it belongs.",
    ),
    Topic(
        "subjects",
        "a NATS subject",
        (
            "Which NATS subjects are used?",
            "List the subjects of the mesh.",
            "What do the subjects look like?",
            "Which subjects does the mesh have?",
            "How are the NATS subjects named?",
        ),
        ("What NATS subjects are there?", "How do the subjects of the mesh look?"),
        "All subjects start with mesh.v1, for example mesh.v1.infer for requests. "
        "Capacity is on mesh.v1.edge.capacity and work on mesh.v1.edge.work.",
    ),
    Topic(
        "infer_subject",
        "mesh.v1.infer",
        (
            "Can I send a request without HTTP?",
            "How do I use plain NATS?",
            "How do I send a request over NATS?",
            "What is the subject mesh.v1.infer for?",
            "Can I call the mesh from another language?",
            "How do I use nats req with the mesh?",
        ),
        ("How can I ask the mesh over plain NATS?", "Is there a way to use it without HTTP?"),
        "Send JSON to the subject mesh.v1.infer with any NATS client. "
        "Any gateway answers it, so every language works.",
    ),
    Topic(
        "jetstream",
        "JetStream",
        (
            "What is JetStream used for?",
            "Why does the mesh need JetStream?",
            "What does JetStream store?",
            "Explain JetStream.",
            "Where are jobs kept?",
        ),
        ("What role does JetStream play?", "What is kept in JetStream?"),
        "JetStream is the storage of NATS, and it keeps durable jobs and model files. "
        "Live requests do not pass through it, because they must not wait for storage.",
    ),
    Topic(
        "jobs",
        "a durable job",
        (
            "How do durable jobs work?",
            "What is a job in the mesh?",
            "Can a request wait overnight?",
            "How do I run work that must not get lost?",
            "What is a durable job good for?",
            "Which command shows the jobs?",
        ),
        ("Can I queue work that survives a restart?", "How does a durable job work?"),
        "A durable job is a request kept in JetStream until it is done. "
        "It survives restarts, and mesh jobs shows its state.",
    ),
    Topic(
        "accounts",
        "a NATS account",
        (
            "What are the NATS accounts for?",
            "How do accounts protect my data?",
            "Why does the mesh use accounts?",
            "Which accounts are there?",
            "Explain the accounts EDGE, CLOUD and APP.",
        ),
        ("Which NATS accounts exist?", "How does an account protect data?"),
        "The accounts EDGE, CLOUD and APP are the boundary in the broker. "
        "Inside the EDGE account cloud subjects do not exist, so nothing can leak.",
    ),
    Topic(
        "sovereignty",
        "data sovereignty",
        (
            "How does my data stay local?",
            "Does my data leave the house?",
            "Is my data safe?",
            "How is local only enforced?",
            "Who guarantees that data stays here?",
            "Can the mesh leak my data to the cloud?",
            "How do you keep data private?",
        ),
        ("Who makes sure that my data stays local?", "Will my data leave my house?"),
        "The broker itself keeps data local, not only our code. "
        "An edge-only gateway lives in the EDGE account, where the cloud does not exist.",
    ),
    Topic(
        "creds",
        "a creds file",
        (
            "What is --creds for?",
            "Why do I need a creds file?",
            "How does a worker prove who it is?",
            "How do workers log in?",
            "What is in the creds file?",
        ),
        ("What is the creds option good for?", "How does a worker log in?"),
        "The creds file holds the key with which a worker logs in to NATS. "
        "Each role has its own key and sees only its own subjects.",
    ),
    Topic(
        "slots",
        "a slot",
        (
            "What does a slot mean?",
            "How many requests can a worker run at once?",
            "What is --slots for?",
            "Explain slots.",
            "How do I run more requests at the same time?",
            "Who decides over the slots?",
        ),
        ("What is meant by a slot?", "How many requests run at the same time?"),
        "A slot is room for one running request on a worker. "
        "Set the number with --slots; the worker alone decides and answers accepted or busy.",
    ),
    Topic(
        "advert",
        "a capacity advert",
        (
            "What does a capacity advert contain?",
            "How does the router know who is free?",
            "What do workers advertise?",
            "How often does a worker send its capacity?",
            "Explain capacity adverts.",
            "How do workers announce themselves?",
        ),
        ("What is inside a capacity advert?", "How can the router know which worker is free?"),
        "A capacity advert says which models a worker has and how many slots are free. "
        "It is sent at every change and every second.",
    ),
    Topic(
        "stale",
        "",
        (
            "What if a worker stops sending adverts?",
            "When is a worker ignored?",
            "How is a silent worker noticed?",
            "What happens if an advert is old?",
            "When does a worker count as gone?",
        ),
        ("When will the router ignore a worker?", "What if an advert is too old?"),
        "A router ignores a worker whose advert is older than three intervals. "
        "An interval is one second.",
    ),
    Topic(
        "router",
        "the router",
        (
            "How is a worker chosen?",
            "How does placement work?",
            "How does the router choose a worker?",
            "Who decides where a request goes?",
            "Explain the placement.",
            "What does the router do?",
        ),
        ("How does the router pick a machine?", "Who chooses the worker for a request?"),
        "The router picks the worker with the best predicted finish. "
        "It counts the queue, the prompt, the warm prefix and the speed of each worker.",
    ),
    Topic(
        "gateway",
        "the gateway",
        (
            "What does the gateway do?",
            "Which part speaks HTTP?",
            "Explain the gateway.",
            "Where is the OpenAI API served?",
            "How do I start only a gateway?",
            "What is mesh gateway for?",
        ),
        ("What job has the gateway?", "Which part offers the OpenAI API?"),
        "The gateway offers the OpenAI API over HTTP and sends each request to the bus. "
        "Start one alone with mesh gateway --nats URL.",
    ),
    Topic(
        "broker",
        "the broker",
        (
            "What does the broker do?",
            "How do I start only the broker?",
            "Is the broker a real NATS server?",
            "Explain the broker.",
            "What is mesh broker for?",
            "Do I have to install NATS?",
        ),
        ("What job has the broker?", "Must I install a NATS server?"),
        "The broker is a real nats-server that comes with the mesh. "
        "mesh broker starts it alone; for many machines an external cluster works, too.",
    ),
    Topic(
        "edge_worker",
        "an edge worker",
        (
            "What does an edge worker do?",
            "Explain the edge worker.",
            "What is a worker?",
            "What does a worker do?",
            "What is inside a worker?",
        ),
        ("What job has an edge worker?", "Tell me what a worker does."),
        "An edge worker runs models on one of your own machines. "
        "It is an agent on the bus with one engine process per model.",
    ),
    Topic(
        "failover",
        "failover",
        (
            "What happens if a worker dies?",
            "What happens when a machine crashes in the middle of an answer?",
            "Does a stream survive a dying machine?",
            "What if a laptop is closed during an answer?",
            "How does failover work?",
            "Is my answer lost when a worker fails?",
        ),
        ("What if a worker crashes?", "Will my stream survive when a machine dies?"),
        "Another worker with the same model goes on where the dead one stopped. "
        "You see a short pause, never a lost or repeated word.",
    ),
    Topic(
        "queue",
        "",
        (
            "Where do requests wait?",
            "What happens when all slots are busy?",
            "What if the mesh is full?",
            "When do I get a 429?",
            "What happens if every worker is busy?",
            "What does 429 mean?",
        ),
        ("What if all the workers are busy?", "Where does a request wait?"),
        "Requests wait in the router, in a bounded and fair queue per model. "
        "If the queue is full and the cloud is not allowed, you get 429 with Retry-After.",
    ),
    Topic(
        "prefix",
        "prefix reuse",
        (
            "What is a warm prefix?",
            "How does prefix reuse work?",
            "Why is the second question in a chat faster?",
            "Does the mesh cache prompts?",
            "What is the prefix cache?",
        ),
        ("How does the prefix cache work?", "Why is the next turn in a chat so fast?"),
        "A warm prefix is the part of a prompt that a worker has already computed. "
        "The router prefers that worker, so long chats start faster.",
    ),
    Topic(
        "ollama",
        "",
        (
            "Can I use Ollama?",
            "How do I connect Ollama or LM Studio?",
            "Does it work with vLLM?",
            "Can a worker use llama-server?",
            "I already run Ollama, can I use it?",
            "How do I use a machine that runs LM Studio?",
        ),
        ("Does the mesh work with Ollama?", "My machine runs LM Studio, can I use it?"),
        "Run mesh worker --upstream http://127.0.0.1:11434/v1 on that machine. "
        "This works with Ollama, LM Studio, llama-server and vLLM.",
    ),
    Topic(
        "scripted",
        "the scripted engine",
        (
            "What does the scripted engine do?",
            "Can I test without a model?",
            "What is --engine scripted?",
            "How do I run load tests?",
            "Which engine needs no model?",
        ),
        ("Is there an engine without a model?", "What is the scripted engine for?"),
        "The scripted engine needs no model and sends numbered tokens. "
        "It serves load tests, fault tests and front-end work.",
    ),
    Topic(
        "nodes",
        "mesh nodes",
        (
            "How do I list my workers?",
            "How do I see which machines are there?",
            "Which command shows the workers?",
            "How do I see the fleet?",
            "Show me how to list the nodes.",
        ),
        ("How can I see all my workers?", "What command lists the machines?"),
        "Run mesh nodes to list the workers of your mesh. mesh top shows them live.",
    ),
    Topic(
        "models_command",
        "mesh models",
        (
            "How do I list the models?",
            "Which models are available?",
            "Which command shows the models?",
            "How do I see what models I have?",
            "Show me how to list models.",
        ),
        ("How can I see all the models?", "What command lists models?"),
        "Run mesh models to list the models. The gateway lists them at /v1/models, too.",
    ),
    Topic(
        "doctor",
        "mesh doctor",
        (
            "Something does not work, what can I do?",
            "How do I find out what is wrong?",
            "Which command checks my setup?",
            "How do I debug the mesh?",
            "My mesh is broken, help me.",
            "How do I check that all is well?",
        ),
        ("How can I check my setup?", "It does not work, what should I do?"),
        "Run mesh doctor, which checks your set-up and says what is wrong.",
    ),
    Topic(
        "chat_command",
        "mesh chat",
        (
            "How do I chat in the terminal?",
            "Which command opens a chat?",
            "Can I talk to the model without a browser?",
            "How do I talk to a model from the command line?",
            "What is mesh chat for?",
        ),
        ("How can I chat from my terminal?", "What command starts a chat?"),
        "Run mesh chat to talk to a model in your terminal.",
    ),
    Topic(
        "settings",
        "mesh.toml",
        (
            "How do I configure the mesh?",
            "Where do settings come from?",
            "Can I use environment variables?",
            "Is there a configuration file?",
            "Which setting wins, flag or environment?",
            "How do I change a setting?",
        ),
        ("How can I configure it?", "Where can I put my settings?"),
        "Every flag is also an environment variable and a key of mesh.toml. "
        "The flag wins, then the environment, then the file, then the default.",
    ),
    Topic(
        "port",
        "",
        (
            "Which port does the gateway use?",
            "What is the default port?",
            "On which address does the mesh listen?",
            "How do I change the port?",
            "Which port is used for HTTP?",
        ),
        ("What port does the gateway listen on?", "How can I use another port?"),
        "The gateway listens on 127.0.0.1:8080 and NATS on 127.0.0.1:4222. "
        "Change them with --http and --nats-listen; port 0 means any free port.",
    ),
    Topic(
        "stop",
        "",
        (
            "How do I stop the mesh?",
            "How do I shut it down?",
            "What happens on Ctrl-C?",
            "How do I end the mesh?",
            "How do I stop a worker?",
            "What does draining mean?",
        ),
        ("How can I shut the mesh down?", "What is the way to stop a worker?"),
        "Press Ctrl-C: the parts drain, then stop, in bounded time. "
        "A draining worker finishes its requests and takes no new ones.",
    ),
    Topic(
        "streaming",
        "streaming",
        (
            "Does the mesh stream?",
            "How do I get tokens as they come?",
            "How do I stream an answer?",
            "Can I see the words as they are made?",
            "What does stream=True do?",
        ),
        ("Can I stream the answer?", "How can I get tokens one by one?"),
        "Set stream to true and the tokens arrive as they are made. "
        "They are sent as server-sent events, the first one at once.",
    ),
    Topic(
        "frames",
        "a frame",
        (
            "Which frames are there?",
            "What does a worker send back?",
            "What messages make up an answer?",
            "Explain the frames.",
            "List the kinds of frames.",
        ),
        ("What kinds of frames exist?", "What does the worker send as an answer?"),
        "An answer is a row of frames: Accepted, Delta, Beat, Done or Failed. "
        "Each has a sequence number, so a gap is noticed.",
    ),
    Topic(
        "beat",
        "a Beat",
        (
            "What is a beat for?",
            "What is a heartbeat in the mesh?",
            "How is a lost attempt noticed?",
            "When is an attempt lost?",
            "How does the mesh notice a dead stream?",
        ),
        ("How can a lost attempt be noticed?", "What are the beats for?"),
        "A Beat is sent every second while nothing else is sent. "
        "After three missed beats the attempt counts as lost.",
    ),
    Topic(
        "cancel",
        "",
        (
            "What happens if I close the connection?",
            "How do I cancel a request?",
            "Does a disconnect stop the work?",
            "What if my client goes away?",
            "Does the worker go on when I disconnect?",
        ),
        ("What if I disconnect?", "How can I cancel my request?"),
        "Close the connection: the request is cancelled and its slot becomes free. "
        "Nothing is computed for longer than one step after that.",
    ),
    Topic(
        "spark",
        "spark",
        (
            "Which model is this?",
            "What model are you?",
            "Tell me about the model spark.",
            "Which model comes with the mesh?",
            "What is the demo model?",
            "How big is spark?",
        ),
        ("Which demo model do you ship?", "What model am I talking to?"),
        "Spark is the very small demo model that comes with the mesh. "
        "It was trained from scratch on two CPU cores with text written for this project.",
    ),
    Topic(
        "gpu",
        "",
        (
            "Do I need a GPU?",
            "Does it run on a CPU?",
            "Which hardware do I need?",
            "Will it run on my old laptop?",
            "What are the hardware requirements?",
            "Can a laptop be a worker?",
        ),
        ("Will this work without a GPU?", "What hardware does the mesh need?"),
        "You need no GPU: llama.cpp runs small models well on a CPU. "
        "The machine must only have enough memory for the model.",
    ),
    Topic(
        "tools_mesh",
        "",
        (
            "Does the mesh support tool calls?",
            "Can models call functions here?",
            "Is function calling possible?",
            "Does it support JSON schema output?",
            "Can I force the model to answer in JSON?",
        ),
        ("Are tool calls supported?", "Can I get JSON that follows a schema?"),
        "Yes, the mesh supports tool calls and JSON schema output. "
        "Constrained answers are enforced token by token on the worker.",
    ),
    Topic(
        "license",
        "",
        (
            "What does the mesh cost?",
            "Is the mesh free?",
            "Is it open source?",
            "Which licence does it have?",
            "Do I have to pay?",
        ),
        ("How much does the mesh cost?", "Is this open source software?"),
        "The mesh is open source under the Apache-2.0 licence. "
        "You pay nothing per token on your own machines.",
    ),
    Topic(
        "python",
        "",
        (
            "Which language is the mesh written in?",
            "What is the mesh written in?",
            "Which Python version do I need?",
            "Is it a Python project?",
            "Which version of Python is required?",
        ),
        ("What language is this written in?", "What Python version is needed?"),
        "The mesh is written in Python and needs version 3.11 or newer. "
        "The fast parts are nats-server and llama.cpp.",
    ),
    Topic(
        "architecture",
        "",
        (
            "What parts does the mesh have?",
            "How is the mesh built?",
            "Describe the architecture.",
            "What are the components?",
            "How does the mesh work?",
            "How does a request travel?",
        ),
        ("Which components does the mesh have?", "How does this all work?"),
        "The gateway takes a request, the router picks a worker and NATS carries the messages. "
        "Edge workers compute the answer; a cloud worker is the fallback.",
    ),
)
