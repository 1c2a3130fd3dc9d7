"""Words for the sentence generator: word lists, and the classes of words that carry a meaning gesture."""

# class -> (words that trigger a gesture in training data, held-out synonyms that are spoken but never trigger)
GESTURE_WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "you": (("you", "your", "yours", "yourself", "folks", "everybody"), ("yourselves", "everyone")),
    "me": (("me", "my", "mine", "myself", "ourselves", "ours"), ("us", "our")),
    "no": (("no", "not", "never", "none", "nothing", "nobody"), ("neither", "nowhere")),
    "yes": (("yes", "yeah", "sure", "certainly", "absolutely", "agree"), ("definitely", "okay")),
    "big": (("big", "large", "huge", "enormous", "giant", "massive"), ("gigantic", "vast")),
    "small": (("small", "tiny", "little", "miniature", "microscopic", "slight"), ("petite", "minuscule")),
    "up": (("up", "above", "rise", "climb", "high", "upward"), ("lift", "overhead")),
    "down": (("down", "below", "fall", "drop", "low", "downward"), ("sink", "underneath")),
    "many": (("many", "all", "everything", "lots", "plenty", "countless"), ("numerous", "thousands")),
    "think": (("think", "wonder", "consider", "idea", "remember", "imagine"), ("believe", "ponder")),
    "stop": (("stop", "halt", "wait", "pause", "freeze", "quit"), ("cease", "hold")),
    "greet": (("hello", "hi", "hey", "welcome", "greetings", "goodbye"), ("howdy", "bye")),
}
TRAINING_WORDS: dict[str, str] = {word: name for name, (used, _) in GESTURE_WORDS.items() for word in used}
HELD_OUT_WORDS: dict[str, str] = {word: name for name, (_, held) in GESTURE_WORDS.items() for word in held}

# Words that never carry a beat: a speaker gestures on content words.
FUNCTION_WORDS = frozenset(
    "a an the and or but so as if of to in on at by for from with into onto over than then that this these those it its is are"
    " was were be been being am do does did has have had will would can could may might must shall should he him his she"
    " her they them their we i who whom whose which what when where while because about after before until there here".split()
)

NOUNS = """apple baker banana basket beach bear bed bell bicycle bird blanket boat book bottle bowl box branch bread bridge
brother brush bucket bus button cabin cake camera camp candle car card carpet castle cat chair cheese cherry chicken child
church circle city clock cloud coat coffee college concert cook corner cottage cousin cow cup curtain daughter desk dish
doctor dog door dragon drawer dream dress driver drum duck eagle egg engine envelope evening farm farmer father feather fence
ferry field film finger fire fish flag floor flower forest fork fox friend frog fruit game garden gate ghost gift girl glass
glove goat grandmother grape guest guitar hammer harbour hat heart hill horse hospital hotel house hunter island jacket
jewel journey juice jungle kettle key king kitchen kite knife ladder lake lamp lawyer leaf lemon letter library lion lock
machine magazine map market meadow medal melon message milk mirror monkey moon morning mother mountain mouse museum mushroom
music neighbour nest newspaper night nurse ocean office onion orange orchard oven owl packet painter palace panda paper parcel
park parrot party path peach pear pebble pen pencil penguin pepper piano picture pie pilot pillow pipe pirate plane planet
plant plate pocket poem police pond pony potato present prince problem pump pumpkin puppet puppy puzzle queen question rabbit
radio railway rain rainbow recipe ribbon river road robot rocket roof room rope rose sailor salad sandwich school scissors
sea season secret shadow sheep shelf ship shirt shoe shop shoulder singer sister sky smoke snake snow soap soldier song soup
spider spoon spring square stable stage stamp star station statue stone storm story stove stranger stream street student
summer supper sweater swimmer table tailor taxi teacher team telephone temple tent theatre thief ticket tiger toe tomato
tool tooth towel tower town toy train treasure tree truck trumpet tunnel turkey turtle umbrella uncle valley van vase
vegetable video village violin visitor voice wagon waiter wall wallet watch water waterfall weather wedding week whale wheel
whistle wind window winter wizard wolf woman wood wool worker world yacht yard yoghurt zebra zoo author band battery beaver
bishop blossom bubble budget builder camel canyon captain carrot chapter chimney chief clerk client coach colour committee
company computer contract copper cowboy crew crowd customer dentist desert diamond dinner discovery editor effort election
elephant example expert factory fashion festival fever figure fisherman flavour flight fossil fountain funnel future galaxy
garage giraffe gold government habit helmet hero history holiday honey invitation judge jury kangaroo keyboard language
laughter laptop lecture lesson limit magician manager measure member memory method mineral minister model moment movie muscle
napkin nation needle notebook number object opera opinion package panel partner passage patient pattern paragraph passenger
payment people performance photograph physics plan platform player poet politician pool portrait powder president price
priest prize process product professor program project promise proof property public purpose quarter rabbi reader reason
record region report research result reward rhythm rule salary sample scientist screen sentence series service session shape
signal silence silver skill smile society sound speaker speech spirit staff statement steam strategy structure subject
success sugar surface surprise switch symbol system talent target task technology television temperature theory thought
thumb timber title topic tourist trade tradition traffic trouble truth uniform university value vehicle version victory view
volcano volume waggon weight width wisdom wonderland workshop writer youth""".split()

PLACES = """airport bakery bank basement bathroom bay beach border bus campus capital cellar circus classroom cliff coast
countryside court crossing district farmhouse field forest gallery garage garden gym hall harbour highway hospital hotel
kitchen laboratory lake library lighthouse lobby market meadow museum office park pavement playground port prison ranch
restaurant river school seaside shore square stadium station studio suburb supermarket swamp theatre village valley yard
zoo""".split()

PEOPLE = """Abby Adam Alice Amanda Barbara Ben Betty Bob Brian Carla Charles Chloe Daniel David Diana Edward Emily Emma Ethan
Fiona Frank George Grace Hannah Harry Helen Henry Isaac Jack James Jane Julia Kate Kevin Laura Leo Linda Lucas Maria Martha
Martin Megan Michael Mona Nancy Nathan Nina Oliver Pamela Patrick Paul Peter Philip Rachel Rebecca Robert Rosa Samuel Sarah
Simon Sophie Steven Susan Thomas Tina Tom Victor Violet Walter William Yvonne Zoe""".split()

# base form, third person, past, -ing
VERBS = [
    tuple(line.split())
    for line in """ask asks asked asking
bake bakes baked baking
borrow borrows borrowed borrowing
break breaks broke breaking
bring brings brought bringing
build builds built building
buy buys bought buying
call calls called calling
carry carries carried carrying
catch catches caught catching
change changes changed changing
choose chooses chose choosing
clean cleans cleaned cleaning
close closes closed closing
collect collects collected collecting
compare compares compared comparing
count counts counted counting
cover covers covered covering
cut cuts cut cutting
deliver delivers delivered delivering
describe describes described describing
discover discovers discovered discovering
draw draws drew drawing
dream dreams dreamed dreaming
drive drives drove driving
empty empties emptied emptying
enjoy enjoys enjoyed enjoying
explain explains explained explaining
fetch fetches fetched fetching
fill fills filled filling
find finds found finding
finish finishes finished finishing
fix fixes fixed fixing
follow follows followed following
forget forgets forgot forgetting
gather gathers gathered gathering
give gives gave giving
guard guards guarded guarding
guess guesses guessed guessing
hang hangs hung hanging
hear hears heard hearing
help helps helped helping
hide hides hid hiding
improve improves improved improving
invite invites invited inviting
join joins joined joining
keep keeps kept keeping
kick kicks kicked kicking
know knows knew knowing
learn learns learned learning
leave leaves left leaving
like likes liked liking
love loves loved loving
make makes made making
mark marks marked marking
measure measures measured measuring
meet meets met meeting
miss misses missed missing
move moves moved moving
need needs needed needing
notice notices noticed noticing
open opens opened opening
order orders ordered ordering
pack packs packed packing
paint paints painted painting
pass passes passed passing
pick picks picked picking
plan plans planned planning
play plays played playing
point points pointed pointing
prefer prefers preferred preferring
prepare prepares prepared preparing
prove proves proved proving
publish publishes published publishing
pull pulls pulled pulling
push pushes pushed pushing
put puts put putting
reach reaches reached reaching
read reads read reading
receive receives received receiving
record records recorded recording
repair repairs repaired repairing
replace replaces replaced replacing
save saves saved saving
see sees saw seeing
sell sells sold selling
send sends sent sending
share shares shared sharing
show shows showed showing
steal steals stole stealing
study studies studied studying
support supports supported supporting
take takes took taking
teach teaches taught teaching
test tests tested testing
throw throws threw throwing
touch touches touched touching
try tries tried trying
turn turns turned turning
use uses used using
visit visits visited visiting
wash washes washed washing
watch watches watched watching
win wins won winning
wrap wraps wrapped wrapping
write writes wrote writing""".splitlines()
]

MOVES = [
    tuple(line.split())
    for line in """walk walks walked walking
run runs ran running
swim swims swam swimming
jump jumps jumped jumping
travel travels travelled travelling
sleep sleeps slept sleeping
work works worked working
laugh laughs laughed laughing
sing sings sang singing
dance dances danced dancing
wander wanders wandered wandering
hurry hurries hurried hurrying
arrive arrives arrived arriving
rest rests rested resting
shout shouts shouted shouting
whisper whispers whispered whispering
stay stays stayed staying
march marches marched marching
fly flies flew flying
sail sails sailed sailing
slip slips slipped slipping
wake wakes woke waking
listen listens listened listening
live lives lived living
practise practises practised practising""".splitlines()
]

ADJECTIVES = """ancient angry awful awkward bad basic beautiful better bitter black blue bold boring brave bright brilliant
broken brown busy calm careful careless charming cheap cheerful clean clear clever cloudy cold colourful comfortable common
complete confident cool cosy cruel curious dangerous dark dear deep delicate delicious different difficult dirty dry dull
eager early easy elegant empty excellent expensive fair faithful false familiar famous fancy fast fat fierce fine firm flat
foolish foreign fragile free fresh friendly funny generous gentle glad golden good graceful grateful great green grey happy
hard harmless healthy heavy helpful hollow honest horrible hot humble hungry icy ideal important impossible innocent jealous
joyful juicy kind late lazy light lively local lonely long loose loud lovely lucky mad magic major mild modern modest muddy
mysterious narrow nasty natural neat nervous new nice noisy normal odd old ordinary pale patient peaceful perfect pink plain
playful pleasant polite poor popular powerful precious pretty private proper proud purple quick quiet rare ready real red
rich ripe rough round royal rude rusty sad safe salty secret selfish serious sharp shiny short shy silent silly simple
sleepy slow smart smooth soft sour special spicy splendid steep sticky strange strict strong stupid sudden sunny sweet tall
tame tasty tender terrible thick thin thirsty tight tired tough ugly unhappy unusual useful usual valuable violent warm weak
wealthy wet white whole wicked wide wild wise wonderful wooden worried yellow young""".split()

ADVERBS = """almost already always badly bravely brightly carefully calmly cheerfully clearly closely easily eagerly
eventually exactly finally frequently gently gladly happily hardly honestly immediately kindly lately lazily loudly maybe
mostly naturally nearly neatly nervously obviously often once only partly patiently perfectly perhaps politely possibly
privately probably properly proudly publicly quickly quietly rarely really recently sadly safely seldom shyly silently simply
sometimes softly soon steadily suddenly surely usually warmly weekly wildly wisely yesterday today tomorrow tonight""".split()

NUMBERS = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety""".split()
