"""The synthetic kitchen: recipe and photo pairs drawn from nothing but a seed, the embedded default dataset.

A recipe is made first: a kind of dish, its visible ingredients with their amounts, a way of cooking, and pantry
ingredients that no photo shows. Its text names all of them; its photo (:mod:`kfood.data.kitchen_drawing`) shows the
visible ones, cooked that way, under conditions that the text does not tell. Pairs are learnable, and not trivially so.

Every pair comes from its own random streams, seeded by ``(seed, index, purpose)``: pair 7 is the same whether 10 or
10,000 pairs are asked for, and the same seed gives the same bytes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kfood.data import kitchen_drawing
from kfood.data.kitchen_drawing import Part, Scene

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeRecord

SIZES = (64, 512)
"""Least and greatest side of a photo, pixels."""

_BACKGROUND_SHARE = 0.04
_RECIPE, _LAYOUT, _NUISANCE, _GRAIN = range(4)


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """How recipes write an ingredient.

    Attributes:
        name: its clean name, singular.
        plural: how a line writes several of it; the name itself for what is not counted.
        measure: unit without its plural ending; ``""`` counts pieces ("3 tomatoes").
        amounts: for little, some and much of it, in quarters of the measure.
        cuts: how it may be prepared, written after the name or before it.
        adjectives: what a line may put before the name.
    """

    name: str
    plural: str
    measure: str
    amounts: tuple[int, int, int]
    cuts: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()


def _counted(name: str, *cuts: str, plural: str = "", amounts=(4, 8, 16), adjectives=("large", "small", "ripe")):
    return Ingredient(name, plural or name + "s", "", amounts, cuts, adjectives)


def _cups(name: str, *cuts: str, plural: str = "", amounts=(2, 4, 8), adjectives=("fresh",)) -> Ingredient:
    return Ingredient(name, plural or name, "cup", amounts, cuts, adjectives)


def _pounds(name: str, *cuts: str, plural: str = "", amounts=(2, 4, 6), adjectives=("boneless",)) -> Ingredient:
    return Ingredient(name, plural or name, "pound", amounts, cuts, adjectives)


def _ounces(name: str, *cuts: str, plural: str = "", amounts=(8, 16, 32), adjectives=()) -> Ingredient:
    return Ingredient(name, plural or name, "ounce", amounts, cuts, adjectives)


def _spoons(name: str, *cuts: str, plural: str = "", amounts=(4, 8, 16), adjectives=()) -> Ingredient:
    return Ingredient(name, plural or name, "tablespoon", amounts, cuts, adjectives)


def _teaspoons(name: str, amounts=(1, 2, 4), adjectives=()) -> Ingredient:
    return Ingredient(name, name, "teaspoon", amounts, (), adjectives)


_ALL = (
    # vegetables
    _counted("tomato", "sliced", "cut into rounds", plural="tomatoes"),
    _cups("cherry tomato", plural="cherry tomatoes", adjectives=("whole", "sweet")),
    _counted("cucumber", "thinly sliced"),
    _counted("zucchini", "sliced into coins", plural="zucchini"),
    _counted("carrot", "peeled and sliced", "cut into coins"),
    _counted("beetroot", "peeled and sliced", plural="beetroots", adjectives=("cooked", "small")),
    _counted("radish", "thinly sliced", plural="radishes", amounts=(8, 16, 24), adjectives=()),
    _counted("eggplant", "sliced into rounds", adjectives=("small", "large")),
    _counted("bell pepper", "cut into strips", "sliced", adjectives=("red", "sweet red")),
    _counted("yellow pepper", "cut into strips", "sliced"),
    _counted("green pepper", "cut into strips", "sliced"),
    _counted("jalapeno", "sliced", adjectives=("fresh",)),
    _cups("broccoli", "cut into florets", amounts=(4, 8, 12)),
    _cups("cauliflower", "cut into florets", amounts=(4, 8, 12)),
    _ounces("mushroom", "sliced", plural="mushrooms", adjectives=("brown", "button")),
    _counted("red onion", "cut into rings", "sliced", adjectives=("small", "large")),
    _cups("corn", adjectives=("sweet", "frozen", "canned")),
    _cups("pea", plural="peas", adjectives=("frozen", "green")),
    _cups("chickpea", "drained", plural="chickpeas", adjectives=("canned", "cooked")),
    _cups("black bean", "drained", plural="black beans", adjectives=("canned", "cooked")),
    _cups("kidney bean", "drained", plural="kidney beans", adjectives=("canned", "cooked")),
    _cups("lentil", plural="lentils", adjectives=("brown", "dried")),
    _counted("potato", "peeled and cubed", plural="potatoes", adjectives=("large", "waxy")),
    _counted("sweet potato", "peeled and diced", plural="sweet potatoes", adjectives=("large",)),
    _cups("pumpkin", "diced", amounts=(4, 8, 12), adjectives=()),
    _cups("spinach", "chopped", "washed", amounts=(4, 8, 16), adjectives=("fresh", "baby")),
    _cups("lettuce", "torn", "shredded", amounts=(4, 8, 16), adjectives=("green", "crisp")),
    _cups("arugula", "washed", amounts=(4, 8, 16)),
    _cups("kale", "stems removed", "torn", amounts=(4, 8, 16), adjectives=("curly",)),
    _cups("red cabbage", "shredded", amounts=(4, 6, 8), adjectives=()),
    _cups("olive", "pitted and sliced", plural="olives", amounts=(1, 2, 4), adjectives=("black",)),
    _cups("green olive", "pitted", plural="green olives", amounts=(1, 2, 4), adjectives=("stuffed",)),
    _cups("snap pea", "trimmed", plural="snap peas", adjectives=("sugar",)),
    _cups("green bean", "trimmed", plural="green beans"),
    _counted("asparagus", "trimmed", plural="asparagus", amounts=(24, 40, 64), adjectives=("green",)),
    _counted("pickle", "sliced", adjectives=("dill",)),
    _counted("avocado", "peeled and sliced", adjectives=("ripe",)),
    # fruit
    _cups("strawberry", "hulled", plural="strawberries", adjectives=("fresh", "ripe")),
    _cups("blueberry", plural="blueberries", adjectives=("fresh", "wild")),
    _cups("raspberry", plural="raspberries"),
    _cups("blackberry", plural="blackberries"),
    _cups("cherry", "pitted", plural="cherries", adjectives=("sweet", "sour")),
    _cups("grape", plural="grapes", adjectives=("red", "seedless")),
    _counted("banana", "sliced", adjectives=("ripe",)),
    _counted("kiwi", "peeled and sliced", adjectives=("ripe",)),
    _counted("orange", "sliced", adjectives=("juicy", "large")),
    _counted("lemon", "sliced", adjectives=("juicy",)),
    _counted("lime", "sliced", adjectives=("juicy",)),
    _cups("pineapple", "cut into wedges"),
    _counted("mango", "peeled and diced", plural="mangoes", adjectives=("ripe",)),
    _counted("peach", "sliced", plural="peaches", adjectives=("ripe",)),
    _counted("apple", "cored and sliced", adjectives=("red", "crisp")),
    _cups("watermelon", "cut into wedges", amounts=(4, 8, 12), adjectives=("seedless",)),
    _cups("raisin", plural="raisins", amounts=(1, 2, 4), adjectives=("dark",)),
    _cups("cranberry", plural="cranberries", amounts=(1, 2, 4), adjectives=("dried",)),
    # meat, fish, eggs, cheese, tofu
    _pounds("chicken", "cut into chunks", "cubed", adjectives=("boneless", "skinless")),
    _pounds("beef", "cut into chunks", "cubed", adjectives=("lean", "tender")),
    _pounds("pork", "cut into chunks", "cubed", adjectives=("lean", "boneless")),
    Ingredient("meatball", "meatballs", "", (24, 40, 64), (), ("small", "homemade")),
    _counted("sausage", "sliced", adjectives=("smoked", "spicy")),
    _ounces("pepperoni", "sliced", adjectives=("spicy",)),
    _ounces("ham", "diced", adjectives=("cooked", "smoked")),
    Ingredient("bacon", "bacon", "slice", (8, 16, 24), ("cut into pieces",), ("smoked", "thick")),
    _pounds("shrimp", "peeled and deveined", adjectives=("large", "raw")),
    _pounds("salmon", "cut into pieces", adjectives=("fresh", "skinless")),
    _pounds("tuna", "diced", adjectives=("fresh", "sashimi grade")),
    Ingredient("egg", "eggs", "", (4, 8, 16), (), ("large", "medium")),
    _ounces("tofu", "cubed", "pressed and cubed", adjectives=("firm", "extra firm")),
    _ounces("paneer", "cubed", adjectives=("fresh",)),
    _ounces("halloumi", "cubed", adjectives=()),
    _ounces("feta", "cubed", "crumbled", adjectives=("Greek",)),
    _ounces("mozzarella", "sliced", "torn", adjectives=("fresh",)),
    _cups("cheddar", "shredded", amounts=(2, 4, 6), adjectives=("sharp", "mature")),
    _spoons("parmesan", "grated"),
    # nuts, sweets, bread
    _cups("walnut", plural="walnuts", amounts=(1, 2, 4), adjectives=("toasted",)),
    _cups("pecan", plural="pecans", amounts=(1, 2, 4), adjectives=("toasted",)),
    _cups("almond", plural="almonds", amounts=(1, 2, 4), adjectives=("whole", "toasted")),
    _cups("cashew", plural="cashews", amounts=(1, 2, 4), adjectives=("roasted",)),
    _cups("chocolate chip", plural="chocolate chips", amounts=(2, 3, 4), adjectives=("semisweet", "dark")),
    _cups("white chocolate chip", plural="white chocolate chips", amounts=(2, 3, 4), adjectives=()),
    _cups("marshmallow", plural="marshmallows", amounts=(2, 3, 4), adjectives=("mini",)),
    _spoons("sprinkle", plural="sprinkles", adjectives=("rainbow", "colored")),
    _spoons("coconut flake", plural="coconut flakes", adjectives=("unsweetened",)),
    _cups("granola", adjectives=("crunchy",)),
    _cups("crouton", plural="croutons", adjectives=("toasted",)),
    # herbs, seeds, toppings
    _spoons("basil", "torn", adjectives=("fresh",)),
    _spoons("mint", "torn", adjectives=("fresh",)),
    _spoons("parsley", "chopped", adjectives=("fresh",)),
    _spoons("cilantro", "chopped", adjectives=("fresh",)),
    _counted("scallion", "thinly sliced", adjectives=()),
    _counted("chili", "sliced", plural="chilies", adjectives=("red", "hot")),
    _spoons("sesame seed", plural="sesame seeds", adjectives=("toasted",)),
    _spoons("butter", adjectives=("unsalted", "soft")),
    _cups("whipped cream", adjectives=()),
    _cups("sour cream", amounts=(1, 2, 4), adjectives=()),
    # areas: liquids, sauces, spreads, frostings, flavours
    _cups("chicken broth", amounts=(12, 16, 24), adjectives=("low sodium", "hot")),
    _spoons("miso", adjectives=("white",)),
    _cups("coconut milk", amounts=(4, 6, 8), adjectives=("canned",)),
    _cups("tomato sauce", adjectives=("thick",)),
    _cups("pesto", adjectives=("green",)),
    _cups("cream sauce", adjectives=("white",)),
    _cups("cheese sauce", adjectives=("warm",)),
    _cups("barbecue sauce", amounts=(1, 2, 4), adjectives=("smoky",)),
    _spoons("teriyaki sauce"),
    _spoons("soy sauce", adjectives=("dark",)),
    _spoons("sweet chili sauce"),
    _spoons("yellow curry paste"),
    _spoons("red curry paste"),
    _spoons("green curry paste"),
    _spoons("garam masala"),
    _spoons("ketchup"),
    _spoons("mayonnaise"),
    _spoons("mustard", adjectives=("yellow",)),
    _spoons("balsamic glaze"),
    _spoons("ranch dressing"),
    _cups("maple syrup", amounts=(1, 2, 3), adjectives=("pure",)),
    _spoons("honey"),
    _cups("caramel", amounts=(1, 2, 3), adjectives=("soft",)),
    _ounces("chocolate", "melted", adjectives=("dark", "bittersweet")),
    _cups("lemon curd", adjectives=()),
    _ounces("cream cheese", adjectives=("soft",)),
    _cups("buttercream", adjectives=("soft",)),
    _spoons("matcha", adjectives=("ground",)),
    _spoons("coffee", adjectives=("instant", "strong")),
    _cups("pistachio", plural="pistachios", adjectives=("shelled",)),
    _cups("coconut", "grated", adjectives=("fresh",)),
    _cups("yogurt", adjectives=("plain", "Greek")),
    _cups("oats", adjectives=("rolled",)),
    _cups("acai", adjectives=("frozen",)),
    _spoons("chia seed", plural="chia seeds"),
    _cups("hummus", adjectives=("smooth",)),
    _spoons("peanut butter", adjectives=("smooth", "creamy")),
    # areas: doughs, breads, grains, pasta
    _cups("wheat flour", amounts=(6, 8, 10), adjectives=("white",)),
    _cups("cocoa powder", amounts=(1, 2, 3), adjectives=("dark",)),
    _teaspoons("red velvet coloring", (2, 4, 8)),
    _spoons("ginger", "grated", adjectives=("ground",)),
    Ingredient("white bread", "white bread", "slice", (8, 8, 16)),
    Ingredient("rye bread", "rye bread", "slice", (8, 8, 16), (), ("dark",)),
    Ingredient("sourdough bread", "sourdough bread", "slice", (8, 8, 16)),
    _counted("corn tortilla", amounts=(12, 24, 32), adjectives=("small",)),
    _counted("flour tortilla", amounts=(12, 24, 32), adjectives=("small",)),
    _counted("blue corn tortilla", amounts=(12, 24, 32), adjectives=("small",)),
    _counted("sesame bun", "split", adjectives=("soft",)),
    _counted("brioche bun", "split", adjectives=("soft",)),
    _counted("pretzel bun", "split", adjectives=("soft",)),
    _cups("white rice", amounts=(4, 6, 8), adjectives=("jasmine", "cooked")),
    _cups("brown rice", amounts=(4, 6, 8), adjectives=("cooked",)),
    _cups("saffron rice", amounts=(4, 6, 8), adjectives=("cooked",)),
    _cups("black rice", amounts=(4, 6, 8), adjectives=("cooked",)),
    _cups("couscous", adjectives=("cooked",)),
    _cups("quinoa", adjectives=("cooked",)),
    _ounces("spaghetti", amounts=(32, 48, 64)),
    _ounces("penne", amounts=(32, 48, 64)),
    _ounces("fettuccine", amounts=(32, 48, 64)),
    _ounces("macaroni", amounts=(32, 48, 64)),
    _ounces("soba", amounts=(24, 32, 48)),
    _ounces("rice noodle", plural="rice noodles", amounts=(24, 32, 48)),
    Ingredient("nori", "nori", "sheet", (8, 12, 16)),
    _spoons("salmon roe"),
    _cups("graham cracker", "crushed", plural="graham crackers", amounts=(4, 6, 8), adjectives=()),
    Ingredient("egg white", "egg whites", "", (12, 16, 24), ("lightly beaten",), ("large",)),
    # the pantry: in the text, never in the photo
    _teaspoons("salt", adjectives=("kosher", "sea", "fine")),
    _teaspoons("black pepper", adjectives=("ground", "freshly ground")),
    _spoons("olive oil", adjectives=("extra virgin",)),
    _spoons("vegetable oil"),
    _cups("sugar", amounts=(1, 3, 4), adjectives=("white", "brown")),
    _cups("water", amounts=(1, 2, 4), adjectives=("cold", "warm")),
    _cups("milk", amounts=(1, 2, 4), adjectives=("whole",)),
    _teaspoons("vanilla extract", (2, 4, 8), ("pure",)),
    _teaspoons("baking powder", (2, 4, 8)),
    _teaspoons("cinnamon", adjectives=("ground",)),
    _teaspoons("cumin", adjectives=("ground",)),
    _teaspoons("paprika", adjectives=("smoked", "sweet")),
    _teaspoons("oregano", adjectives=("dried",)),
    Ingredient("garlic", "garlic", "clove", (4, 8, 16), ("minced", "crushed"), ()),
    _spoons("vinegar", adjectives=("white", "cider")),
    _spoons("lemon juice", adjectives=("fresh",)),
    _teaspoons("nutmeg", adjectives=("grated",)),
    _teaspoons("yeast", (4, 6, 8), ("dry",)),
    _spoons("cornstarch"),
)

INGREDIENTS: dict[str, Ingredient] = {ingredient.name: ingredient for ingredient in _ALL}
"""Clean name → how recipes write it."""

# Flavours that a picture and a title call otherwise than the list of ingredients does.
_FLAVORS = {"vanilla extract": "vanilla", "red velvet coloring": "red velvet"}


@dataclasses.dataclass(frozen=True)
class _Role:
    """Least and greatest number of ingredients that play a role in a dish, and which ones can."""

    name: str
    least: int
    most: int
    choices: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Dish:
    """A kind of dish: what it is called, made of, and how it is made.

    ``steps`` are sentences in order, with the placeholders of :func:`_instructions`; a sentence whose placeholder has
    nothing to stand for is left out. ``cookings`` are ways of cooking with the sentence that tells it.
    """

    nouns: tuple[str, ...]
    roles: tuple[_Role, ...]
    pantry: tuple[str, ...]
    cookings: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


_FRUITS = _names(
    "strawberry, blueberry, raspberry, blackberry, cherry, banana, kiwi, orange, mango, peach, pineapple, apple, grape"
)
_STIR = _names(
    "broccoli, bell pepper, yellow pepper, green pepper, carrot, snap pea, mushroom, red cabbage, zucchini, red onion, "
    "cauliflower, green bean, asparagus, pineapple, corn, cashew"
)

_DISHES: dict[str, _Dish] = {
    "soup": _Dish(
        ("Soup", "Creamy Soup", "Chunky Soup"),
        (
            _Role(
                "base",
                1,
                1,
                _names(
                    "tomato, pumpkin, spinach, beetroot, mushroom, carrot, corn, pea, potato, lentil, black bean, "
                    "chicken broth, miso, coconut milk"
                ),
            ),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "carrot, pea, corn, chicken, shrimp, kidney bean, chickpea, potato, crouton, mushroom, tofu, "
                    "broccoli, bacon, egg, sausage, meatball, bell pepper, spinach, zucchini, cauliflower, green bean"
                ),
            ),
            _Role("sauce", 0, 1, _names("cream sauce, pesto, yogurt")),
            _Role("garnish", 0, 2, _names("parsley, basil, chili, scallion, cilantro, sesame seed")),
        ),
        _names("salt, black pepper, olive oil, garlic, water, paprika, nutmeg"),
        (
            ("boiled", "Bring to a boil, cover and boil for {minutes} minutes until soft."),
            ("simmered", "Simmer gently over low heat for {minutes} minutes."),
            ("roasted", "Roast {pieces} in the oven at {heat} for {minutes} minutes until brown before adding them."),
        ),
        (
            "Heat the {oil} in a large pot over medium heat.",
            "Cook the {base} until soft and blend until smooth.",
            "Add {pieces} to the pot.",
            "{cook}",
            "Swirl in the {sauce} just before serving.",
            "Ladle into bowls and top with {garnish}.",
        ),
    ),
    "salad": _Dish(
        ("Salad", "Chopped Salad", "Summer Salad"),
        (
            _Role("base", 1, 1, _names("lettuce, spinach, arugula, kale, red cabbage, quinoa, couscous")),
            _Role(
                "piece",
                2,
                4,
                _names(
                    "tomato, cherry tomato, cucumber, feta, olive, red onion, avocado, egg, chicken, beetroot, carrot, "
                    "corn, radish, shrimp, salmon, walnut, strawberry, orange, chickpea, crouton, mozzarella, apple, "
                    "bell pepper, yellow pepper, kidney bean, bacon, tuna, sweet potato, watermelon, asparagus"
                ),
            ),
            _Role("sauce", 0, 1, _names("balsamic glaze, ranch dressing, pesto, honey")),
            _Role("garnish", 0, 1, _names("parsley, basil, mint, sesame seed, scallion, parmesan")),
        ),
        _names("salt, black pepper, olive oil, lemon juice, vinegar"),
        (
            ("raw", "Leave everything raw and crisp and chill for {minutes} minutes."),
            ("grilled", "Grill {pieces} over high heat for {minutes} minutes until marked, then let cool."),
            ("roasted", "Roast {pieces} at {heat} for {minutes} minutes until brown, then let cool."),
        ),
        (
            "Put the {base} in a large salad bowl.",
            "Prepare {pieces}.",
            "{cook}",
            "Arrange {pieces} over the {base}.",
            "Drizzle with the {sauce}.",
            "Scatter {garnish} on top.",
        ),
    ),
    "pizza": _Dish(
        ("Pizza", "Thin Crust Pizza", "Homemade Pizza"),
        (
            _Role("base", 1, 1, _names("tomato sauce, tomato sauce, pesto, cream sauce, barbecue sauce")),
            _Role("sauce", 0, 1, _names("mozzarella, mozzarella, cheddar")),
            _Role(
                "piece",
                1,
                4,
                _names(
                    "pepperoni, mushroom, olive, green olive, bell pepper, yellow pepper, green pepper, red onion, "
                    "pineapple, ham, tomato, spinach, corn, shrimp, bacon, egg, chicken, jalapeno, eggplant, sausage, "
                    "zucchini, feta, broccoli, asparagus, salmon"
                ),
            ),
            _Role("garnish", 0, 1, _names("basil, parsley, chili, parmesan, arugula")),
        ),
        _names("wheat flour, yeast, salt, olive oil, oregano, sugar, water"),
        (
            ("baked", "Bake at {heat} for {minutes} minutes until lightly golden."),
            ("roasted", "Bake at {heat} for {minutes} minutes until the crust is well done and deep brown."),
            ("charred", "Bake in a very hot wood oven for {minutes} minutes until the crust is charred."),
        ),
        (
            "Mix the dough and let it rise for {rest} minutes.",
            "Roll it out into a thin round.",
            "Spread the {base} over the dough.",
            "Cover with {sauce}.",
            "Top with {pieces}.",
            "{cook}",
            "Finish with {garnish}, slice and serve.",
        ),
    ),
    "pasta": _Dish(
        ("Pasta", "Pasta Dinner", "Pasta Bowl"),
        (
            _Role("base", 1, 1, _names("spaghetti, penne, fettuccine, macaroni")),
            _Role("sauce", 1, 1, _names("tomato sauce, pesto, cream sauce, cheese sauce, pumpkin, beetroot, mushroom")),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "meatball, shrimp, mushroom, chicken, cherry tomato, pea, broccoli, spinach, bacon, olive, salmon, "
                    "asparagus, sausage, zucchini, eggplant, mozzarella, bell pepper, egg, green olive"
                ),
            ),
            _Role("garnish", 0, 1, _names("basil, parsley, parmesan, chili")),
        ),
        _names("salt, olive oil, garlic, black pepper, water, oregano"),
        (
            ("boiled", "Toss everything together over low heat for {minutes} minutes."),
            ("fried", "Fry {pieces} in a hot skillet for {minutes} minutes until golden, then toss with the pasta."),
            ("roasted", "Bake everything in a dish at {heat} for {minutes} minutes until brown on top."),
        ),
        (
            "Boil the {base} in salted water for {rest} minutes and drain.",
            "Warm the {sauce} in a wide pan.",
            "Add {pieces}.",
            "{cook}",
            "Serve with {garnish}.",
        ),
    ),
    "burger": _Dish(
        ("Burger", "Burgers", "Double Stack Burger"),
        (
            _Role("base", 1, 1, _names("sesame bun, brioche bun, pretzel bun")),
            _Role("main", 1, 1, _names("beef, chicken, salmon, halloumi, black bean")),
            _Role(
                "piece",
                2,
                4,
                _names(
                    "lettuce, tomato, cheddar, red onion, bacon, egg, avocado, pickle, pineapple, beetroot, "
                    "red cabbage, arugula"
                ),
            ),
            _Role("sauce", 0, 1, _names("ketchup, mayonnaise, mustard, barbecue sauce, pesto")),
        ),
        _names("salt, black pepper, vegetable oil, garlic, paprika, cumin"),
        (
            ("fried", "Fry the patties in a skillet for {minutes} minutes on each side."),
            ("grilled", "Grill the patties over medium heat for {minutes} minutes on each side."),
            ("charred", "Char the patties over a very hot flame for {minutes} minutes on each side."),
        ),
        (
            "Shape the {main} into patties and season them.",
            "{cook}",
            "Toast the {base}.",
            "Stack the buns with the patties, {pieces}.",
            "Spread with {sauce} and close the burgers.",
        ),
    ),
    "cake": _Dish(
        ("Cake", "Layer Cake", "Birthday Cake"),
        (
            _Role(
                "base", 1, 1, _names("vanilla extract, cocoa powder, carrot, red velvet coloring, matcha, lemon curd")
            ),
            _Role(
                "sauce",
                1,
                1,
                _names(
                    "buttercream, chocolate, strawberry, blueberry, matcha, caramel, raspberry, pistachio, cream cheese"
                ),
            ),
            _Role(
                "piece",
                1,
                2,
                _names(
                    "strawberry, blueberry, raspberry, kiwi, orange, walnut, sprinkle, cherry, banana, lemon, "
                    "blackberry, marshmallow, peach, mango, pineapple"
                ),
            ),
            _Role("garnish", 0, 1, _names("mint, coconut flake, chocolate chip, almond")),
        ),
        _names("wheat flour, sugar, egg, butter, milk, baking powder, salt"),
        (
            ("baked", "Bake the layers at {heat} for {minutes} minutes until a skewer comes out clean."),
            ("roasted", "Bake the layers at {heat} for {minutes} minutes until the edges are dark brown."),
        ),
        (
            "Preheat the oven to {heat} and grease two round pans.",
            "Beat the batter with the {base} until smooth.",
            "{cook}",
            "Let cool for {rest} minutes, then fill and cover with {sauce} frosting.",
            "Decorate the top with {pieces}.",
            "Sprinkle with {garnish}.",
        ),
    ),
    "curry": _Dish(
        ("Curry", "Curry with Rice", "Weeknight Curry"),
        (
            _Role("base", 1, 1, _names("white rice, brown rice, saffron rice, black rice")),
            _Role(
                "sauce",
                1,
                1,
                _names("yellow curry paste, red curry paste, green curry paste, garam masala, tomato sauce, spinach"),
            ),
            _Role(
                "piece",
                2,
                3,
                _names(
                    "chicken, shrimp, chickpea, tofu, potato, beef, eggplant, paneer, cauliflower, pea, carrot, "
                    "bell pepper, sweet potato, green bean, pumpkin, kidney bean, broccoli, egg, salmon, pineapple"
                ),
            ),
            _Role("garnish", 0, 1, _names("cilantro, chili, lime, mint, cashew, scallion")),
        ),
        _names("salt, vegetable oil, garlic, cumin, water, sugar, lemon juice"),
        (
            ("simmered", "Simmer over low heat for {minutes} minutes until tender."),
            ("boiled", "Cover and boil gently for {minutes} minutes."),
            ("fried", "First fry {pieces} in hot oil for {minutes} minutes until golden brown."),
        ),
        (
            "Cook the {base} and keep it warm.",
            "Stir the {sauce} in a hot pan for {rest} minutes until fragrant.",
            "Add {pieces}.",
            "{cook}",
            "Serve the curry beside the {base}.",
            "Top with {garnish}.",
        ),
    ),
    "omelette": _Dish(
        ("Omelette", "Breakfast Omelette", "Folded Omelette"),
        (
            _Role("base", 1, 1, _names("egg, egg, egg white")),
            _Role(
                "piece",
                2,
                3,
                _names(
                    "mushroom, spinach, tomato, ham, cheddar, bell pepper, green pepper, bacon, feta, shrimp, salmon, "
                    "avocado, asparagus, red onion, sausage, broccoli, olive, potato, zucchini, cherry tomato, kale"
                ),
            ),
            _Role("sauce", 0, 1, _names("ketchup, pesto, mayonnaise, barbecue sauce, cheese sauce")),
            _Role("garnish", 0, 1, _names("parsley, scallion, chili, basil, cilantro")),
        ),
        _names("salt, black pepper, butter, milk, olive oil"),
        (
            ("steamed", "Cook covered over low heat for {minutes} minutes so that the eggs stay pale and soft."),
            ("fried", "Fry over medium heat for {minutes} minutes until golden underneath."),
            ("roasted", "Fry over high heat for {minutes} minutes until well browned."),
        ),
        (
            "Beat the {base} with a fork.",
            "Pour into a hot pan.",
            "{cook}",
            "Lay {pieces} on one half and fold.",
            "Draw a line of {sauce} over it.",
            "Scatter {garnish} on top and serve at once.",
        ),
    ),
    "pie": _Dish(
        ("Pie", "Pie from Scratch", "Country Pie"),
        (
            _Role("base", 1, 1, _names("wheat flour, wheat flour, cocoa powder, graham cracker")),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "apple, cherry, blueberry, pumpkin, pecan, strawberry, peach, lemon, raspberry, blackberry, "
                    "banana, mango, orange, walnut, kiwi, cranberry, chocolate chip"
                ),
            ),
            _Role("garnish", 0, 1, _names("whipped cream, mint, almond, coconut flake")),
        ),
        _names("sugar, butter, salt, cinnamon, cornstarch, water, vanilla extract"),
        (
            ("raw", "Chill without baking for {rest} minutes until set."),
            ("baked", "Bake at {heat} for {minutes} minutes until pale golden."),
            ("roasted", "Bake at {heat} for {minutes} minutes until deep brown."),
        ),
        (
            "Make the crust with the {base} and line a pie dish.",
            "Fill with {pieces}.",
            "{cover}",
            "{cook}",
            "Let cool for {rest} minutes.",
            "Serve topped with {garnish}.",
        ),
    ),
    "sushi": _Dish(
        ("Sushi", "Sushi Rolls", "Homemade Sushi"),
        (
            _Role("base", 1, 1, _names("white rice, white rice, brown rice, black rice")),
            _Role("sauce", 1, 1, _names("nori, nori, salmon roe, avocado, cucumber")),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "salmon, tuna, avocado, cucumber, egg, shrimp, mango, carrot, beetroot, tofu, bell pepper, "
                    "yellow pepper, red cabbage, asparagus, strawberry"
                ),
            ),
            _Role("garnish", 0, 1, _names("sesame seed, lemon, scallion, chili, radish")),
        ),
        _names("vinegar, sugar, salt, soy sauce, water"),
        (
            ("raw", "Keep the filling raw and chill the rolls for {minutes} minutes."),
            ("steamed", "Steam the filling for {minutes} minutes and let it cool before rolling."),
        ),
        (
            "Season the {base} with vinegar and let it cool for {rest} minutes.",
            "Spread the {base} in an even layer.",
            "Lay {pieces} along the middle.",
            "{cook}",
            "Roll up tightly in {sauce} and cut into thick rounds.",
            "Serve with {garnish}.",
        ),
    ),
    "stir-fry": _Dish(
        ("Stir-Fry", "Quick Stir-Fry", "Stir-Fry Bowl"),
        (
            _Role("base", 1, 1, _names("white rice, brown rice, soba, rice noodle, black rice")),
            _Role("sauce", 1, 1, _names("soy sauce, sweet chili sauce, teriyaki sauce, honey")),
            _Role("piece", 2, 4, (*_names("chicken, beef, shrimp, tofu, pork, egg"), *_STIR)),
            _Role("garnish", 0, 1, _names("sesame seed, scallion, cilantro, chili")),
        ),
        _names("vegetable oil, garlic, sugar, cornstarch, vinegar, black pepper"),
        (
            ("steamed", "Stir over steam for {minutes} minutes so that everything stays bright."),
            ("fried", "Stir-fry over high heat for {minutes} minutes until golden."),
            ("charred", "Sear in a smoking hot wok for {minutes} minutes until charred at the edges."),
        ),
        (
            "Cook the {base} and set it aside.",
            "Heat the oil in a wok and add {pieces}.",
            "{cook}",
            "Pour in the {sauce} and toss.",
            "Serve over the {base} with {garnish}.",
        ),
    ),
    "pancakes": _Dish(
        ("Pancakes", "Fluffy Pancakes", "Pancakes for Breakfast"),
        (
            _Role("base", 1, 1, _names("wheat flour, wheat flour, cocoa powder, pumpkin, matcha, red velvet coloring")),
            _Role("sauce", 0, 1, _names("maple syrup, chocolate, strawberry, caramel, honey, blueberry, lemon curd")),
            _Role("piece", 1, 3, (*_FRUITS, "butter", "whipped cream", "bacon", "pecan", "walnut", "chocolate chip")),
            _Role("garnish", 0, 1, _names("mint, coconut flake, sprinkle, almond")),
        ),
        _names("egg, milk, sugar, baking powder, salt, vanilla extract, vegetable oil"),
        (
            ("steamed", "Cook over low heat for {minutes} minutes on each side so that they stay pale."),
            ("fried", "Fry for {minutes} minutes on each side until golden."),
            ("roasted", "Fry over high heat for {minutes} minutes on each side until dark brown."),
        ),
        (
            "Whisk the batter with the {base} and let it stand for {rest} minutes.",
            "Pour a ladle of batter into a hot pan.",
            "{cook}",
            "Stack the pancakes and pour the {sauce} over them.",
            "Top with {pieces}.",
            "Finish with {garnish}.",
        ),
    ),
    "tacos": _Dish(
        ("Tacos", "Street Tacos", "Taco Night Tacos"),
        (
            _Role("base", 1, 1, _names("corn tortilla, flour tortilla, blue corn tortilla")),
            _Role("main", 1, 1, _names("beef, chicken, shrimp, salmon, pork, black bean, cauliflower, egg")),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "lettuce, red cabbage, tomato, cheddar, avocado, corn, red onion, radish, pineapple, mango, "
                    "jalapeno, sour cream, lime, cilantro, feta, yellow pepper"
                ),
            ),
        ),
        _names("salt, cumin, paprika, garlic, vegetable oil, lemon juice"),
        (
            ("boiled", "Simmer the {main} in its sauce for {minutes} minutes."),
            ("fried", "Fry the {main} in a skillet for {minutes} minutes until golden, and crisp the shells."),
            ("charred", "Char the {main} and the shells over an open flame for {minutes} minutes."),
        ),
        (
            "Season the {main} with the spices.",
            "{cook}",
            "Warm the {base} in a dry pan.",
            "Fill the shells with {main}.",
            "Add {pieces} and serve.",
        ),
    ),
    "fruit bowl": _Dish(
        ("Fruit Bowl", "Breakfast Fruit Bowl", "Smoothie Fruit Bowl"),
        (
            _Role("base", 1, 1, _names("yogurt, oats, acai, chia seed, mango, strawberry, blueberry")),
            _Role("piece", 2, 4, (*_FRUITS, "granola", "watermelon", "lime", "walnut")),
            _Role("sauce", 0, 1, _names("honey, chocolate, peanut butter")),
            _Role("garnish", 0, 1, _names("mint, coconut flake, almond, pistachio")),
        ),
        _names("vanilla extract, milk, cinnamon, lemon juice, sugar"),
        (("raw", "Chill for {minutes} minutes."), ("raw", "Keep everything raw and serve within {minutes} minutes.")),
        (
            "Spoon the {base} into a wide bowl.",
            "Prepare {pieces}.",
            "Arrange {pieces} side by side in the bowl.",
            "{cook}",
            "Drizzle with the {sauce}.",
            "Scatter {garnish} over the fruit.",
        ),
    ),
    "cookies": _Dish(
        ("Cookies", "Soft Cookies", "Drop Cookies"),
        (
            _Role(
                "base",
                1,
                1,
                _names(
                    "wheat flour, wheat flour, cocoa powder, oats, peanut butter, matcha, ginger, red velvet coloring"
                ),
            ),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "chocolate chip, white chocolate chip, sprinkle, walnut, raisin, cranberry, almond, cherry, "
                    "marshmallow, pistachio, blueberry, coconut flake, pecan, raspberry"
                ),
            ),
            _Role("sauce", 0, 1, _names("chocolate, strawberry, caramel, cream cheese, lemon curd, mint")),
        ),
        _names("sugar, butter, egg, baking powder, salt, vanilla extract"),
        (
            ("raw", "Chill the cookies without baking for {rest} minutes."),
            ("baked", "Bake at {heat} for {minutes} minutes until the edges are golden."),
            ("roasted", "Bake at {heat} for {minutes} minutes until dark and crisp."),
        ),
        (
            "Cream the butter and sugar, then beat in the {base}.",
            "Drop rounds of dough on a sheet.",
            "{cook}",
            "Ice the middle with {sauce}.",
            "Press {pieces} into each one.",
            "Let cool for {rest} minutes.",
        ),
    ),
    "ice cream": _Dish(
        ("Ice Cream", "Ice Cream Sundae", "Ice Cream Cup"),
        (
            _Role(
                "base",
                1,
                3,
                _names(
                    "vanilla extract, chocolate, strawberry, mint, mango, blueberry, pistachio, caramel, coffee, "
                    "lemon curd, matcha, coconut"
                ),
            ),
            _Role("sauce", 0, 1, _names("chocolate, caramel, raspberry, honey")),
            _Role(
                "piece",
                1,
                2,
                _names(
                    "sprinkle, chocolate chip, walnut, cherry, strawberry, raspberry, blueberry, almond, banana, "
                    "marshmallow, kiwi, pecan"
                ),
            ),
            _Role("garnish", 0, 1, _names("mint, whipped cream, coconut flake, pistachio")),
        ),
        _names("milk, sugar, egg, salt, water"),
        (("raw", "Freeze for at least {minutes} minutes until firm."),),
        (
            "Whisk the milk and sugar and divide between bowls.",
            "Flavor with {bases}.",
            "{cook}",
            "Scoop into a chilled glass and pour over the {sauce}.",
            "Top with {pieces}.",
            "Finish with {garnish}.",
        ),
    ),
    "skewers": _Dish(
        ("Skewers", "Kebab Skewers", "Party Skewers"),
        (
            _Role(
                "main", 1, 1, _names("chicken, beef, shrimp, halloumi, tofu, salmon, pork, sausage, meatball, paneer")
            ),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "bell pepper, yellow pepper, green pepper, zucchini, red onion, cherry tomato, mushroom, "
                    "pineapple, eggplant, corn, peach, potato, broccoli, lemon"
                ),
            ),
            _Role("base", 0, 1, _names("white rice, couscous, lettuce, saffron rice, arugula, black rice, quinoa")),
            _Role("sauce", 0, 1, _names("teriyaki sauce, barbecue sauce, honey, pesto, mustard")),
            _Role("garnish", 0, 1, _names("parsley, mint, sesame seed, cilantro")),
        ),
        _names("salt, black pepper, olive oil, garlic, paprika, lemon juice"),
        (
            ("baked", "Bake at {heat} for {minutes} minutes, turning once."),
            ("grilled", "Grill over medium heat for {minutes} minutes until marked."),
            ("charred", "Grill over hot coals for {minutes} minutes until charred."),
        ),
        (
            "Marinate the {main} for {rest} minutes.",
            "Thread the {main} onto sticks, taking turns with {pieces}.",
            "{cook}",
            "Brush with the {sauce}.",
            "Serve on a bed of {base}.",
            "Scatter {garnish} over the skewers.",
        ),
    ),
    "toast": _Dish(
        ("Toast", "Open Toast", "Loaded Toast"),
        (
            _Role("base", 1, 1, _names("white bread, rye bread, sourdough bread")),
            _Role(
                "sauce",
                1,
                1,
                _names("avocado, cream cheese, peanut butter, hummus, strawberry, pesto, chocolate, beetroot"),
            ),
            _Role(
                "piece",
                1,
                3,
                _names(
                    "tomato, cucumber, egg, salmon, radish, feta, banana, strawberry, blueberry, shrimp, bacon, "
                    "mushroom, cherry tomato, kiwi, walnut, mozzarella, ham, olive, corn, peach"
                ),
            ),
            _Role("garnish", 0, 1, _names("basil, mint, sesame seed, chili, parsley, arugula")),
        ),
        _names("salt, black pepper, olive oil, lemon juice, garlic"),
        (
            ("raw", "Leave the bread soft and rest it for {minutes} minutes."),
            ("baked", "Toast the bread for {minutes} minutes until golden."),
            ("roasted", "Toast the bread for {minutes} minutes until dark brown."),
        ),
        (
            "Lay out the {base}.",
            "{cook}",
            "Spread thickly with {sauce}.",
            "Top with {pieces}.",
            "Sprinkle with {garnish} and serve.",
        ),
    ),
}

CLASSES: tuple[str, ...] = ("background", *_DISHES)
"""Food classes by id: 0 is the background, for recipes whose title does not name their dish."""

_MINUTES = {
    "raw": (5, 30),
    "boiled": (15, 45),
    "simmered": (15, 50),
    "steamed": (5, 15),
    "baked": (15, 30),
    "fried": (3, 12),
    "roasted": (25, 50),
    "grilled": (6, 15),
    "charred": (4, 10),
}
_STYLE = {
    "boiled": ("Homestyle", "Simple"),
    "simmered": ("Slow Simmered", "Gentle"),
    "steamed": ("Soft", "Light"),
    "baked": ("Baked", "Golden"),
    "fried": ("Fried", "Crispy"),
    "roasted": ("Roasted", "Well Browned"),
    "grilled": ("Grilled", "Barbecue"),
    "charred": ("Charred", "Smoky"),
    "raw": ("Fresh", "No-Cook"),
}
_PRAISE = ("Easy", "Best Ever", "Grandma's", "Quick", "Favorite", "Simple", "Family", "Rustic", "My", "The Ultimate")
_BACKGROUND_TITLES = (
    "Sunday Supper",
    "Grandma's Favorite",
    "Quick Weeknight Meal",
    "What We Ate Last Night",
    "A Plate for Two",
    "Something with {main}",
    "{main} Surprise",
    "Leftover Magic with {main}",
    "The Neighbors' Recipe",
    "Potluck Winner",
)
_CLOSINGS = (
    "Season to taste.",
    "Serve immediately.",
    "Enjoy!",
    "Serves {servings}.",
    "Leftovers keep for {days} days in the refrigerator.",
    "Adjust the seasoning and serve.",
)
_PROPORTIONS = {0: "", 1: "1/4", 2: "1/2", 3: "3/4"}


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.random() * len(choices))]


def _sample(rng: np.random.Generator, choices: Sequence[str], count: int) -> list[str]:
    """Distinct choices in random order."""
    distinct = list(dict.fromkeys(choices))
    return [distinct[k] for k in rng.permutation(len(distinct))[:count].tolist()]


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """A recipe before it is written: what is in it, and how it is cooked."""

    dish: str
    parts: tuple[Part, ...]
    pantry: tuple[tuple[str, int], ...]
    cooking: str
    cooking_step: str

    @property
    def scene(self) -> Scene:
        """What its photo can show."""
        parts = tuple(dataclasses.replace(part, name=_FLAVORS.get(part.name, part.name)) for part in self.parts)
        return Scene(self.dish, parts, self.cooking)

    def of(self, role: str) -> list[str]:
        """Names of the ingredients with a role."""
        return [part.name for part in self.parts if part.role == role]


_COVERS = {
    "open": "Leave the pie open on top.",
    "lattice": "Weave a lattice of dough strips over the filling.",
    "crumble": "Scatter a buttery crumble over the filling.",
}


def _compose(rng: np.random.Generator) -> _Recipe:
    """Chooses a dish, its ingredients with their amounts, and its cooking."""
    kind = _pick(rng, CLASSES[1:])
    dish = _DISHES[kind]
    parts: list[Part] = []
    for role in dish.roles:
        count = role.least + int(rng.random() * (role.most - role.least + 1))
        used = [part.name for part in parts]
        free = [name for name in role.choices if name not in used]
        # A name that stands several times among the choices is that much likelier where one is taken.
        chosen = [_pick(rng, free)] if count == 1 else _sample(rng, free, count)
        parts += [Part(role.name, name, 1 + int(rng.random() * 3)) for name in chosen]
    if kind == "pie":
        parts.append(Part("cover", _pick(rng, tuple(_COVERS))))
    names = {part.name for part in parts}
    hidden = [name for name in dish.pantry if name not in names]
    pantry = [(name, 1 + int(rng.random() * 3)) for name in _sample(rng, hidden, 2 + int(rng.random() * 3))]
    cooking, step = dish.cookings[int(rng.random() * len(dish.cookings))]
    return _Recipe(kind, tuple(parts), tuple(pantry), cooking, step)


def _line(rng: np.random.Generator, name: str, level: int) -> str:
    """An ingredient line, such as "1 1/2 cups fresh spinach, chopped"."""
    ingredient = INGREDIENTS[name]
    quarters = ingredient.amounts[level - 1]
    whole, part = divmod(quarters, 4)
    amount = " ".join(text for text in (str(whole) if whole else "", _PROPORTIONS[part]) if text)
    words = [amount]
    if ingredient.measure:
        words.append(ingredient.measure + ("s" if quarters > 4 else ""))
        written = ingredient.plural
    else:
        written = ingredient.plural if quarters > 4 else ingredient.name
    if ingredient.adjectives and rng.random() < 0.45:
        words.append(_pick(rng, ingredient.adjectives))
    if not ingredient.cuts or rng.random() < 0.3:
        return " ".join([*words, written])
    cut = _pick(rng, ingredient.cuts)
    if " " not in cut and rng.random() < 0.4:
        return " ".join([*words, cut, written])
    return " ".join([*words, written]) + ", " + cut


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: "the chickpeas, the rice and the basil"."""
    written = ["the " + INGREDIENTS[name].plural for name in names]
    return written[0] if len(written) == 1 else ", ".join(written[:-1]) + " and " + written[-1]


def _instructions(rng: np.random.Generator, recipe: _Recipe) -> list[str]:
    """The sentences of a recipe, 3 to 8 of them."""
    low, high = _MINUTES[recipe.cooking]
    degrees = 25 * int(rng.integers(12, 16)) + (75 if recipe.cooking in ("roasted", "charred") else 0)
    known = {
        "minutes": str(int(rng.integers(low, high + 1))),
        "rest": str(5 * int(rng.integers(2, 13))),
        "heat": f"{degrees} degrees F" if rng.random() < 0.7 else f"{round((degrees - 32) / 9) * 5} degrees C",
        "oil": "butter" if rng.random() < 0.3 else "oil",
        "servings": str(int(rng.integers(2, 9))),
        "days": str(int(rng.integers(2, 5))),
    }
    for role, key in (("base", "base"), ("main", "main"), ("sauce", "sauce")):
        if names := recipe.of(role):
            known[key] = INGREDIENTS[names[0]].plural
    for role, key in (("piece", "pieces"), ("garnish", "garnish"), ("base", "bases")):
        if names := recipe.of(role):
            known[key] = _listed(names)
    if cover := recipe.of("cover"):
        known["cover"] = _COVERS[cover[0]]
    known["cook"] = recipe.cooking_step.format(**known)
    sentences = []
    for step in _DISHES[recipe.dish].steps:
        try:
            sentences.append(step.format(**known))
        except KeyError:  # A step about something that this recipe does not have.
            continue
    if len(sentences) < 8 and rng.random() < 0.6:
        sentences.append(_pick(rng, _CLOSINGS).format(**known))
    return sentences


def _title(rng: np.random.Generator, recipe: _Recipe, background: bool) -> str:
    """A title that names the dish and some of its ingredients, or for the background none of the dish."""
    leading = [part.name for part in recipe.parts if part.role in ("main", "piece")]
    named = [name.title() for name in leading]
    if background:
        return _pick(rng, _BACKGROUND_TITLES).format(main=named[0])
    noun = _pick(rng, _DISHES[recipe.dish].nouns)
    if recipe.dish in ("soup", "pasta", "cake", "ice cream", "burger", "stir-fry") and rng.random() < 0.4:
        ground = recipe.of("main" if recipe.dish == "burger" else "base")[0]
        named = [_FLAVORS.get(ground, ground).title(), *named]
    shown = named[: 1 + int(rng.random() * 2)]
    subject = (" and " if rng.random() < 0.6 else " & ").join(shown)
    shape = int(rng.random() * 4)
    if shape == 0:
        return f"{subject} {noun}"
    if shape == 1:
        return f"{_pick(rng, _STYLE[recipe.cooking])} {subject} {noun}"
    if shape == 2:
        return f"{_pick(rng, _PRAISE)} {subject} {noun}"
    return f"{noun} with {subject}"


def split_of(index: int) -> str:
    """The split of a pair: of ten pairs in a row eight are for training, one for validation, one for testing."""
    return {8: "val", 9: "test"}.get(index % 10, "train")


def generate(pairs: int = 2000, size: int = 128, seed: int = 0) -> "Iterator[tuple[str, RecipeRecord]]":
    """Makes recipe and photo pairs.

    Args:
        pairs: how many; 80 % are for training, 10 % for validation and 10 % for testing.
        size: side of the square photos, 64 to 512 pixels.
        seed: the same seed gives the same bytes; pair i does not depend on ``pairs``.

    Yields:
        The split (``"train"``, ``"val"`` or ``"test"``) and the recipe with one JPEG photo, splits interleaved.

    Raises:
        ValueError: an argument is out of its range.
    """
    if pairs < 10:
        raise ValueError(f"pairs: expected at least 10, so that no split is empty, received {pairs}.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size: expected {SIZES[0]} to {SIZES[1]} pixels, received {size}.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or greater, received {seed}.")
    return _generate(pairs, size, seed)


def _generate(pairs: int, size: int, seed: int) -> "Iterator[tuple[str, RecipeRecord]]":
    from kfood.data.dataset import RecipeRecord

    for index in range(pairs):
        rng = np.random.default_rng((seed, index, _RECIPE))
        recipe = _compose(rng)
        background = bool(rng.random() < _BACKGROUND_SHARE)
        lines = [(part.name, part.level) for part in recipe.parts if part.role != "cover"] + list(recipe.pantry)
        # Lists do not tell which ingredients are seen: the pantry stands anywhere.
        lines = [lines[k] for k in rng.permutation(len(lines)).tolist()]
        photo = kitchen_drawing.draw(
            recipe.scene,
            size,
            layout=np.random.default_rng((seed, index, _LAYOUT)),
            nuisance=np.random.default_rng((seed, index, _NUISANCE)),
            grain=np.random.default_rng((seed, index, _GRAIN)),
        )
        yield (
            split_of(index),
            RecipeRecord(
                id=f"kitchen-{seed}-{index:06d}",
                title=_title(rng, recipe, background),
                ingredients=[_line(rng, name, level) for name, level in lines],
                ingredient_names=[name for name, _ in lines],
                instructions=_instructions(rng, recipe),
                class_id=0 if background else CLASSES.index(recipe.dish),
                photos=[photo],
            ),
        )
